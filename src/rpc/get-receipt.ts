import type { MessageInitShape } from '@bufbuild/protobuf'
import { TapestryError } from '../core/error.ts'
import type { GetReceiptRequest, ReceiptSchema } from '../gen/proto/tapestry/v1/ledger_pb.ts'
import type { InclusionReceipt } from '../ledger/receipt.ts'
import type { PublicLog } from '../store/public-log.ts'

/** A digest or a node id is shorter. */
const MAX_REF = 100

/** The entry that a reference means, with its proof. */
export async function getReceipt(log: PublicLog, { ref }: GetReceiptRequest) {
  const receipt = /^\d{1,15}$/.test(ref) ? await log.receiptAt(Number(ref)) : await log.receipt(ref.slice(0, MAX_REF))
  if (receipt === undefined) {
    throw new TapestryError('NOT_FOUND', `the log says nothing of "${ref.slice(0, MAX_REF)}"`, {
      hint: 'name a contribution, a checkpoint (sha256:...), a node, or the index of an entry',
    })
  }
  return { receipt: receiptMessage(receipt) }
}

export function receiptMessage(receipt: InclusionReceipt): MessageInitShape<typeof ReceiptSchema> {
  return { ...receipt, index: BigInt(receipt.index), proof: [...receipt.proof] }
}
