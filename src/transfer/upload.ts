import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Digest } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import type { NodeId } from '../core/ids.ts'
import { appendUpload, ensureAnnounced, type UploadContext, type UploadState } from '../store/uploads.ts'
import { problemOfRejection, sendProblem } from './problem.ts'
import { partOf } from './range.ts'

export type Upload = { readonly request: IncomingMessage; readonly body: AsyncIterable<Uint8Array> }

/**
 * Takes the bytes of an announced artifact from an offset on and says how many are kept now (`Tapestry-Offset`).
 * 201 when the artifact is whole and its hash was checked; 200 when more has to come; 409 when the bytes do not begin
 * where the kept ones end; 413 and 422 when the artifact is refused.
 * @throws TapestryError for a request that cannot be served; the connection's failure when it is cut.
 */
export async function receiveArtifact(
  ctx: UploadContext,
  node: NodeId,
  digest: Digest,
  { request, body }: Upload,
  response: ServerResponse,
): Promise<void> {
  const { 'content-range': range, 'content-length': length, 'content-encoding': encoding } = request.headers
  if (encoding !== undefined && encoding !== 'identity') {
    throw new TapestryError('INVALID_ARGUMENT', 'a Content-Encoding would change the bytes that the digest names')
  }
  const part = partOf(range, length)
  const whole = await ctx.blobs.stat(digest)
  if (!whole) await ensureAnnounced(ctx, node, digest, part.size)
  // Nothing was taken yet: who asks first sends nothing for an artifact that is here, or not wanted.
  if (!whole && request.headers.expect?.toLowerCase() === '100-continue') response.writeContinue()
  const state = await appendUpload(ctx, node, digest, part.start, body)
  sendState(response, state)
}

function sendState(response: ServerResponse, state: UploadState): void {
  if (state.kind === 'rejected') {
    sendProblem(response, problemOfRejection(state.rejection))
    return
  }
  const headers = { 'Tapestry-Offset': String(state.offset) }
  if (state.kind === 'wrong-offset') {
    const detail = `the bytes have to begin at ${state.offset}`
    sendProblem(response, { status: 409, code: 'FAILED_PRECONDITION', detail, headers })
    return
  }
  const complete = state.kind === 'complete'
  const body = JSON.stringify({ offset: state.offset, complete })
  response.writeHead(complete ? 201 : 200, {
    ...headers,
    'Content-Type': 'application/json',
    'Content-Length': Buffer.byteLength(body),
  })
  response.end(body)
}
