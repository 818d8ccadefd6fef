import type { Context } from '../context.ts'
import { type Digest, ensureDigest } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import { ensureRunId } from '../core/ids.ts'
import type { AdviseRecordsRequest } from '../gen/proto/tapestry/v1/record_pb.ts'
import { admit, type Occasion, type Withdrawn } from '../policy/admission.ts'
import type { DatasetRecordRow } from '../store/records.ts'
import { circumstances, recordOf } from './admission.ts'
import type { NodePrincipal } from './auth.ts'
import { demandsMessage } from './run-policy.ts'

const MOST = 256

/** Says before training what would be said at submit, record by record: advice, since time and consent move on. */
export async function adviseRecords(context: Context, request: AdviseRecordsRequest, { node }: NodePrincipal) {
  const { reader } = context.store
  const id = ensureRunId(request.run)
  const run = await reader.run(id)
  if (run === undefined) throw new TapestryError('NOT_FOUND', `there is no run ${id}`)
  if (request.digests.length > MOST) throw new TapestryError('INVALID_ARGUMENT', `at most ${MOST} records at a time`)
  const digests = request.digests.map(ensureDigest)
  const { demands, joinWindowMs, collectWindowMs } = run.policy
  const roundMs = joinWindowMs + collectWindowMs
  const own = (await reader.datasetRecords(digests)).filter((row) => row.node === node.id)
  const { trainedIn, withdrawn } = await circumstances(reader, node)
  const now = context.clock.now()
  const occasion = demands && { demands, trainedIn, now, until: now + roundMs }
  return {
    demands: demandsMessage(demands),
    jurisdiction: trainedIn ?? '',
    roundMs: BigInt(roundMs),
    records: digests.map((digest) => adviceOn(digest, own, occasion, withdrawn)),
  }
}

function adviceOn(
  digest: Digest,
  own: readonly DatasetRecordRow[],
  occasion: Occasion | null,
  withdrawn: readonly Withdrawn[],
) {
  const row = own.find((one) => one.digest === digest)
  if (row === undefined)
    return { digest, rejection: { reason: 'NO_RECORD', detail: `${digest} is not registered here` } }
  if (occasion === null) return { digest }
  const verdict = admit(recordOf(row), occasion, withdrawn)
  return verdict.ok ? { digest } : { digest, rejection: verdict.rejection }
}
