import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { TapestryError } from '../core/error.ts'
import { fileBlocks } from '../core/file-blocks.ts'
import { RAW_BODY } from '../core/raw-body.ts'
import { ArtifactService } from '../gen/proto/tapestry/v1/artifact_pb.ts'
import { fileError } from '../model/whole-file.ts'
import {
  type Artifact,
  BLOCK_BYTES,
  HTTPS_STRIKES,
  MAX_IDLE_ATTEMPTS,
  MESSAGE_BYTES,
  type TransferOptions,
} from './artifact.ts'
import { type ArtifactConnection, openConnection, requestHead } from './artifact-connection.ts'
import type { Channel } from './channel.ts'
import { HttpsFailure, readText, refusalOf } from './https-failure.ts'
import { DEFAULT_BACKOFF, isPassing, pause, waitAfter } from './retry.ts'
import { safeNumber } from './wire.ts'

/**
 * Sends a file to the coordinator, from wherever an earlier attempt ended, and returns when all of it is stored there
 * and its digest was checked. Bytes travel over HTTPS, or over gRPC where nothing else passes.
 * @throws TapestryError UNAVAILABLE when nothing moved in several attempts; DATA_INVALID when the file has another size;
 *   VERIFICATION_FAILED when its bytes do not have the digest; the coordinator's refusal.
 */
export async function uploadArtifact(
  channel: Channel,
  artifact: Artifact,
  path: string,
  options: TransferOptions = {},
): Promise<void> {
  await requireSize(path, artifact.size)
  const { signal, backoff = DEFAULT_BACKOFF } = options
  const state = { furthest: -1, idle: 0, strikes: 0 }
  for (;;) {
    signal?.throwIfAborted()
    const origin = channel.https
    let failure: unknown
    try {
      if (await sendRest(channel, artifact, path, options, state)) return
    } catch (error) {
      signal?.throwIfAborted()
      failure = error
      if (error instanceof HttpsFailure) {
        state.strikes++
        channel.leave(origin)
      } else if (!isPassing(error)) throw error
      if (state.idle >= MAX_IDLE_ATTEMPTS) throw givenUp(artifact, error)
    }
    if (state.idle > 0) await pause(waitAfter(failure, state.idle, backoff), signal)
  }
}

type State = { furthest: number; idle: number; strikes: number }

/** One attempt. @returns whether the artifact was complete when it began. */
async function sendRest(
  channel: Channel,
  artifact: Artifact,
  path: string,
  options: TransferOptions,
  state: State,
): Promise<boolean> {
  const { signal, onProgress } = options
  // Counted before the call: a coordinator that cannot be reached must not be asked for ever.
  state.idle++
  let early = earlyConnection(channel, state, signal)
  try {
    const announced = await announce(channel, artifact, signal)
    if (announced.complete) {
      onProgress?.(artifact.size, artifact.size)
      return true
    }
    const offset = ensureOffset(safeNumber(announced.offset), artifact)
    noteProgress(state, offset, artifact)
    onProgress?.(offset, artifact.size)
    if (early !== undefined && offset < artifact.size) {
      early = sameIdentity(early, channel, signal)
      return await put(early, artifact, path, offset, options)
    }
    await sendMessages(channel, artifact, path, offset, options)
    return false
  } finally {
    early?.close()
  }
}

function announce(channel: Channel, { digest, size }: Artifact, signal: AbortSignal | undefined) {
  const request = { digest, size: BigInt(size) }
  return channel.call(ArtifactService.method.announceArtifact, request, { signal, attempts: 1 })
}

function noteProgress(state: State, offset: number, artifact: Artifact): void {
  if (offset > state.furthest) {
    // HTTPS that moves bytes passes; once it was given up for the stream, it stays so.
    if (state.strikes < HTTPS_STRIKES) state.strikes = 0
    state.furthest = offset
    state.idle = 0
  } else if (state.idle > MAX_IDLE_ATTEMPTS) {
    throw givenUp(artifact, undefined)
  }
}

/** Connects while the announcement is still under way: over a long way that saves two of its round trips. */
function earlyConnection(channel: Channel, state: State, signal: AbortSignal | undefined) {
  return state.strikes < HTTPS_STRIKES ? openConnection(channel.https, signal) : undefined
}

/** Another one when the announcement renewed the certificate: the early connection still shows the old one. */
function sameIdentity(early: ArtifactConnection, channel: Channel, signal: AbortSignal | undefined) {
  if (early.origin === channel.https) return early
  early.close()
  return openConnection(channel.https, signal)
}

/**
 * PUTs the bytes from `offset` on. A wrong offset is no failure: the next announcement tells the right one.
 * @returns whether the coordinator says that the artifact is whole and has its digest.
 */
async function put(
  connection: ArtifactConnection,
  artifact: Artifact,
  path: string,
  offset: number,
  { onProgress }: TransferOptions,
): Promise<boolean> {
  // An early answer is a refusal, and a broken connection shows in both: the answer is what counts.
  send(connection, artifact, path, offset, onProgress).catch((cause) => connection.close(cause))
  const { status, headers, body } = await connection.answered
  if (status === 409 && headers.has('tapestry-offset')) return false
  const text = await readText(body)
  if (status >= 300) throw refusalOf(status, text, headers.get('retry-after'))
  return status === 201
}

async function send(
  connection: ArtifactConnection,
  { digest, size }: Artifact,
  path: string,
  offset: number,
  onProgress: TransferOptions['onProgress'],
): Promise<void> {
  const head = requestHead(connection.origin, `PUT /v1/artifacts/${digest} HTTP/1.1`, {
    'Content-Type': 'application/octet-stream',
    'Content-Length': size - offset,
    'Content-Range': `bytes ${offset}-${size - 1}/${size}`,
    // Nothing changes but how the coordinator reads: a body that is all there is on this connection (docs/PROTOCOL.md).
    Connection: 'close, Upgrade',
    Upgrade: RAW_BODY,
  })
  await connection.write(head)
  let sent = offset
  for await (const block of fileBlocks(path, { start: offset, end: size }, BLOCK_BYTES)) {
    await connection.write(block)
    sent += block.byteLength
    onProgress?.(sent, size)
  }
  if (sent < size) throw new TapestryError('DATA_INVALID', `${path} has become shorter`)
}

/** The fallback. An empty message at the end asks for the digest check of what is already there. */
async function sendMessages(
  channel: Channel,
  artifact: Artifact,
  path: string,
  offset: number,
  { signal, onProgress }: TransferOptions,
): Promise<void> {
  async function* messages() {
    let position = offset
    if (position === artifact.size) yield { digest: artifact.digest, offset: BigInt(position), data: new Uint8Array() }
    if (position === artifact.size) return
    const file = createReadStream(path, { start: offset, end: artifact.size - 1, highWaterMark: MESSAGE_BYTES })
    for await (const data of file) {
      const digest = position === offset ? artifact.digest : ''
      yield { digest, offset: BigInt(position), data }
      position += data.length
      onProgress?.(position, artifact.size)
    }
  }
  await channel.send(ArtifactService.method.uploadArtifact, messages(), { signal })
}

function ensureOffset(offset: number, { size }: Artifact): number {
  if (offset <= size) return offset
  throw new TapestryError('VERIFICATION_FAILED', `the coordinator claims ${offset} of ${size} bytes`)
}

async function requireSize(path: string, size: number): Promise<void> {
  try {
    const found = (await stat(path)).size
    if (found !== size) throw new TapestryError('DATA_INVALID', `${path} has ${found} bytes, expected ${size}`)
  } catch (cause) {
    throw fileError(path, cause)
  }
}

function givenUp(artifact: Artifact, cause: unknown): TapestryError {
  return new TapestryError('UNAVAILABLE', `${artifact.digest} could not be uploaded`, { cause })
}
