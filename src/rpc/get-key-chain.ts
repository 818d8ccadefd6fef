import type { Context } from '../context.ts'
import { ensureNodeId } from '../core/ids.ts'
import type { GetKeyChainRequest } from '../gen/proto/tapestry/v1/node_pb.ts'
import { requireNode } from '../store/membership.ts'
import { signatureMessage } from './message.ts'

/** Every change of a node's keys, in order. */
export async function getKeyChain({ store: { reader } }: Context, request: GetKeyChainRequest) {
  const { id } = await requireNode(reader, ensureNodeId(request.node))
  const changes = await reader.keyChanges(id)
  return {
    changes: changes.map(({ text, signatures }) => ({
      record: Buffer.from(text, 'utf8'),
      signatures: signatures.map(signatureMessage),
    })),
  }
}
