import type { Context } from '../context.ts'
import { digestOf } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import { DOMAINS } from '../core/signature.ts'
import type { WithdrawRecordRequest } from '../gen/proto/tapestry/v1/record_pb.ts'
import { parseWithdrawal } from '../policy/dataset-record.ts'
import type { NodePrincipal } from './auth.ts'
import { ensureOwnDocument } from './record-document.ts'

const MOST = 10_000

/** Ends the use of a dataset: no later contribution may name it. What was merged before is left as it is. */
export async function withdrawRecord(
  context: Context,
  { withdrawal: bytes, signature }: WithdrawRecordRequest,
  { node }: NodePrincipal,
) {
  const withdrawal = parseWithdrawal(bytes)
  const row = {
    node: node.id,
    id: withdrawal.id,
    text: Buffer.from(bytes).toString('utf8'),
    signature: ensureOwnDocument(context, node, withdrawal, { domain: DOMAINS.withdrawal, bytes, signature }),
    at: context.clock.now(),
  }
  const records = await context.store.transact('withdraw-record', async (tx) => {
    const entry = { type: 'record-withdrawn', node: node.id, withdrawal: digestOf(bytes) } as const
    for (const record of await tx.withdrawDatasetRecords(row)) await tx.appendToLedger({ ...entry, record }, row.at)
    return tx.findDatasetRecords({ node: node.id, id: withdrawal.id, limit: MOST })
  })
  if (records.length === 0) throw new TapestryError('NOT_FOUND', `this node has no record of "${withdrawal.id}" here`)
  return { digests: records.filter(({ withdrawnAt }) => withdrawnAt !== null).map(({ digest }) => digest) }
}
