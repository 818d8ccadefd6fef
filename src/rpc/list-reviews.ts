import type { Context } from '../context.ts'
import type { ListReviewsRequest } from '../gen/proto/tapestry/v1/contribution_pb.ts'
import type { NodePrincipal } from './auth.ts'
import { roundKeyOf } from './message.ts'

/** What the calling node is asked to score and has not yet; nothing unless the round is reviewing. */
export async function listReviews(context: Context, request: ListReviewsRequest, { node }: NodePrincipal) {
  const key = roundKeyOf(request.round)
  const { reader } = context.store
  if ((await reader.round(key))?.round.phase !== 'reviewing') return { reviews: [] }
  const asked = await reader.reviewsAsked(key, node.id)
  const open = asked.filter(({ answered }) => !answered)
  return {
    reviews: open.map(({ contribution, payload, bytes, languages }) => {
      return { contribution, payloadDigest: payload, payloadBytes: BigInt(bytes), languages: [...languages] }
    }),
  }
}
