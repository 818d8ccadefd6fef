import type { GetConsistencyProofRequest } from '../gen/proto/tapestry/v1/ledger_pb.ts'
import type { PublicLog } from '../store/public-log.ts'
import { countOf } from './message.ts'

/** Proof that one state of the log grew out of another. */
export async function getConsistencyProof(log: PublicLog, { first, second }: GetConsistencyProofRequest) {
  return { hashes: [...(await log.consistency(countOf(first), countOf(second)))] }
}
