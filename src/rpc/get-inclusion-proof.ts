import type { GetInclusionProofRequest } from '../gen/proto/tapestry/v1/ledger_pb.ts'
import type { PublicLog } from '../store/public-log.ts'
import { countOf } from './message.ts'

/** Proof that an entry is in a state of the log. */
export async function getInclusionProof(log: PublicLog, { index, size }: GetInclusionProofRequest) {
  return { hashes: [...(await log.inclusion(countOf(index), countOf(size)))] }
}
