import { stat } from 'node:fs/promises'
import type { Digest } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import { type Artifact, HTTPS_STRIKES, MAX_IDLE_ATTEMPTS, type TransferOptions } from './artifact.ts'
import { type Opened, openOverGrpc, openOverHttps } from './artifact-source.ts'
import type { Channel } from './channel.ts'
import { digestOfFile } from './file-digest.ts'
import { HttpsFailure } from './https-failure.ts'
import { PartFile } from './part-file.ts'
import { DEFAULT_BACKOFF, isPassing, pause, waitAfter } from './retry.ts'

/** What is wanted: either its exact size is known, or the most that may arrive. Bytes. */
export type Wanted = { readonly digest: Digest } & ({ readonly size: number } | { readonly maxBytes: number })

/**
 * Fetches an artifact into `path`, from wherever an earlier attempt ended. It appears whole and proved by its digest,
 * or not at all; what has arrived waits in `<path>.part`. Nothing is fetched when it is already there.
 * @throws TapestryError NOT_FOUND; VERIFICATION_FAILED for another digest or size than was promised; UNAVAILABLE when
 *   nothing moved in several attempts; DISK_FULL.
 */
export async function downloadArtifact(
  channel: Channel,
  wanted: Wanted,
  path: string,
  options: TransferOptions = {},
): Promise<Artifact> {
  const there = await alreadyThere(wanted, path)
  if (there !== undefined) return there
  const part = await PartFile.open(path)
  try {
    await fetchAll(channel, wanted, part, options)
    await part.finish()
    return { digest: wanted.digest, size: part.size }
  } finally {
    await part.close()
  }
}

async function alreadyThere(wanted: Wanted, path: string): Promise<Artifact | undefined> {
  const found = await stat(path).catch(() => undefined)
  if (found === undefined || ('size' in wanted && found.size !== wanted.size)) return undefined
  const { digest, size } = await digestOfFile(path)
  return digest === wanted.digest ? { digest, size } : undefined
}

async function fetchAll(channel: Channel, wanted: Wanted, part: PartFile, options: TransferOptions): Promise<void> {
  const { signal, backoff = DEFAULT_BACKOFF } = options
  // What an earlier life left may be damaged; what arrived in this one has only the coordinator to blame.
  let inherited = part.size > 0
  let strikes = 0
  for (let idle = 0; ; ) {
    signal?.throwIfAborted()
    const before = part.size
    const origin = channel.https
    try {
      const total = await fetchRest(channel, wanted, part, strikes >= HTTPS_STRIKES, options)
      if (part.digest() === wanted.digest && part.size === total) return
      if (!inherited) throw await unproved(part, `the bytes of ${wanted.digest} do not have this digest`)
      inherited = false
      await part.restart()
    } catch (error) {
      signal?.throwIfAborted()
      if (error instanceof HttpsFailure) {
        strikes += part.size > before ? 0 : 1
        channel.leave(origin)
      } else if (!isPassing(error)) throw error
      idle = part.size > before ? 0 : idle + 1
      if (idle >= MAX_IDLE_ATTEMPTS) throw givenUp(wanted, error)
      if (idle > 0) await pause(waitAfter(error, idle, backoff), signal)
    }
  }
}

/** One attempt. @returns the size of the whole, which the part then has. */
async function fetchRest(
  channel: Channel,
  wanted: Wanted,
  part: PartFile,
  overGrpc: boolean,
  { signal, onProgress }: TransferOptions,
): Promise<number> {
  if ('size' in wanted && part.size === wanted.size) return wanted.size
  if ('size' in wanted && part.size > wanted.size) await part.restart()
  const open = overGrpc ? openOverGrpc : openOverHttps
  const opened = await open(channel, wanted.digest, part.size, signal)
  if (opened === undefined) {
    // Nothing after what is here: either that is all, or it is too much. The digest decides.
    if (part.size > 0) return part.size
    throw new TapestryError('UNAVAILABLE', `nothing of ${wanted.digest} came`)
  }
  try {
    await receive(opened, wanted, part, onProgress)
  } finally {
    opened.close()
  }
  return opened.total
}

async function receive(
  opened: Opened,
  wanted: Wanted,
  part: PartFile,
  onProgress: TransferOptions['onProgress'],
): Promise<void> {
  await ensureTotal(opened, wanted, part)
  if (opened.offset !== part.size) {
    if (opened.offset !== 0) throw await unproved(part, 'the coordinator sent another range than was asked for')
    await part.restart()
  }
  for await (const chunk of opened.body) {
    if (part.size + chunk.byteLength > opened.total) throw await unproved(part, `more than ${opened.total} bytes came`)
    await part.append(chunk)
    onProgress?.(part.size, opened.total)
  }
  if (part.size < opened.total) throw new HttpsFailure(`${part.size} of ${opened.total} bytes came`)
}

async function ensureTotal({ total }: Opened, wanted: Wanted, part: PartFile): Promise<void> {
  const fits = 'size' in wanted ? total === wanted.size : total <= wanted.maxBytes
  if (fits) return
  const most = 'size' in wanted ? `${wanted.size}` : `at most ${wanted.maxBytes}`
  throw await unproved(part, `${wanted.digest} is said to have ${total} bytes, expected ${most}`)
}

async function unproved(part: PartFile, detail: string): Promise<TapestryError> {
  await part.discard()
  return new TapestryError('VERIFICATION_FAILED', detail)
}

function givenUp(wanted: Wanted, cause: unknown): TapestryError {
  return new TapestryError('UNAVAILABLE', `${wanted.digest} could not be downloaded`, { cause })
}
