import type { Context } from '../context.ts'
import { type Digest, ensureDigest } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import { Pace } from '../core/pace.ts'
import type { Rejection } from '../core/rejection.ts'
import type {
  AnnounceArtifactRequest,
  DownloadArtifactRequest,
  UploadArtifactRequest,
} from '../gen/proto/tapestry/v1/artifact_pb.ts'
import { announceUpload, appendUpload, type UploadState } from '../store/uploads.ts'
import { mayRead } from '../store/visibility.ts'
import type { NodePrincipal, Principal } from './auth.ts'

/** Bytes by content address over gRPC: announcing for every upload, the streams where HTTPS does not pass. */

/** As large as a message may grow without copying twice; HTTPS is the fast way. */
const CHUNK_BYTES = 2 ** 20

/** Says what will be uploaded and learns how much of it is here. */
export async function announceArtifact(context: Context, request: AnnounceArtifactRequest, { node }: NodePrincipal) {
  const digest = ensureDigest(request.digest)
  return progressOf(await announceUpload(context, node.id, digest, Number(request.size)))
}

/** Takes an announced artifact's bytes from an offset on. */
export async function uploadArtifact(
  context: Context,
  requests: AsyncIterable<UploadArtifactRequest>,
  { node }: NodePrincipal,
) {
  const stream = requests[Symbol.asyncIterator]()
  const first = await stream.next()
  if (first.done) throw new TapestryError('INVALID_ARGUMENT', 'the upload has no messages')
  const digest = ensureDigest(first.value.digest)
  const offset = Number(first.value.offset)
  const bytes = chunksOf(first.value, stream)
  return progressOf(await appendUpload(context, node.id, digest, offset, bytes))
}

/** @throws TapestryError INVALID_ARGUMENT when a message does not continue where the one before ended. */
async function* chunksOf(
  first: UploadArtifactRequest,
  rest: AsyncIterator<UploadArtifactRequest>,
): AsyncGenerator<Uint8Array> {
  let expected = first.offset
  for (let message = first; ; ) {
    if (message.offset !== expected) {
      throw new TapestryError('INVALID_ARGUMENT', `expected data at ${expected}, got data at ${message.offset}`)
    }
    expected += BigInt(message.data.byteLength)
    if (message.data.byteLength > 0) yield message.data
    const next = await rest.next()
    if (next.done) return
    message = next.value
  }
}

/** A refused artifact is an error here: the stream has nothing else to say. */
function progressOf(state: UploadState) {
  switch (state.kind) {
    case 'rejected':
      throw refusal(state.rejection)
    case 'wrong-offset':
      throw new TapestryError('FAILED_PRECONDITION', `the upload continues at ${state.offset}`)
    case 'open':
    case 'complete':
      return { offset: BigInt(state.offset), complete: state.kind === 'complete' }
  }
}

function refusal({ reason, detail }: Rejection): TapestryError {
  return new TapestryError(reason === 'TOO_LARGE' ? reason : 'VERIFICATION_FAILED', `${reason}: ${detail}`)
}

/** Streams an artifact from an offset on, to whom it is visible. */
export async function* downloadArtifact(context: Context, request: DownloadArtifactRequest, principal: Principal) {
  const digest = ensureDigest(request.digest)
  const blob = await visible(context, digest, principal)
  const start = Number(request.offset)
  if (start > blob.size) throw new TapestryError('INVALID_ARGUMENT', `the artifact has only ${blob.size} bytes`)
  const pace = new Pace(context.config.minBytesPerSecond)
  let offset = start
  if (start === blob.size) return
  for await (const bytes of await context.blobs.open(digest, { start })) {
    for (let at = 0; at < bytes.byteLength; at += CHUNK_BYTES) {
      const data = bytes.subarray(at, at + CHUNK_BYTES)
      const from = context.clock.now()
      yield { size: BigInt(blob.size), offset: BigInt(offset), data }
      pace.count(data.byteLength, context.clock.now() - from)
      offset += data.byteLength
    }
  }
}

/** Who may not read an artifact does not learn that it exists. */
async function visible(context: Context, digest: Digest, principal: Principal) {
  const blob = await context.blobs.stat(digest)
  if (blob !== undefined && (await mayRead(context.store.reader, principal, digest))) return blob
  throw new TapestryError('NOT_FOUND', 'there is no such artifact')
}
