import { type Demands, demandsSchema } from '../core/demands.ts'
import type { Digest } from '../core/digest.ts'
import type { RunId } from '../core/ids.ts'
import { ensureJurisdiction } from '../core/jurisdiction.ts'
import { REJECTION_REASONS, type Rejection } from '../core/rejection.ts'
import type { DataSource } from '../engine/sources.ts'
import type { Demands as DemandsMessage } from '../gen/proto/tapestry/v1/operator_pb.ts'
import { type AdviseRecordsResponse, RecordService } from '../gen/proto/tapestry/v1/record_pb.ts'
import { admit } from '../policy/admission.ts'
import type { Declared } from './declare.ts'
import { isUnimplemented } from './declare.ts'
import type { NodeContext } from './node-context.ts'
import { printable } from './rpc-error.ts'
import { received, safeNumber } from './wire.ts'

/** What would become of one dataset in a run; `id` is empty for text that no record declares. */
export type DatasetAdvice = {
  readonly id: string
  readonly digest: Digest | undefined
  readonly languages: readonly string[]
  /** Undefined: it would be trained on. */
  readonly rejection: Rejection | undefined
}

/** What a node may train on in a run. */
export type Admission = {
  /** Null when the run asks nothing of records. */
  readonly demands: Demands | null
  readonly sources: readonly DataSource[]
  /** Digest of each record by its id; undefined when the contribution is to name none. */
  readonly digests: ReadonlyMap<string, Digest> | undefined
  readonly advice: readonly DatasetAdvice[]
}

/**
 * Asks the coordinator about every dataset, and judges each by the node's own copy of the rules: either may refuse.
 * @throws TapestryError UNAVAILABLE, NOT_FOUND, VERIFICATION_FAILED; DATA_INVALID
 */
export async function admissionTo(node: NodeContext, run: RunId, signal: AbortSignal): Promise<Admission> {
  const { sources } = await node.directory.read()
  const declared = await node.datasets.declare(signal)
  const told = declared && (await advise(node, run, declared, signal))
  // An older coordinator would not know what to make of records.
  if (declared === undefined || told === undefined) return { demands: null, sources, digests: undefined, advice: [] }
  const demands = demandsOf(told.demands)
  const advice = declared.map((one) => adviceOn(node, one, demands, told))
  const adviceFor = ({ record }: DataSource) => advice.find(({ id }) => id === record)
  const undeclared = sources.filter((source) => adviceFor(source) === undefined)
  const kept = sources.filter((source) => {
    const found = adviceFor(source)
    return found === undefined ? demands === null : found.rejection === undefined
  })
  const named = kept.length > 0 && kept.every((source) => !undeclared.includes(source))
  const digests = named ? new Map<string, Digest>(declared.map(({ record, digest }) => [record.id, digest])) : undefined
  const rest = demands === null || undeclared.length === 0 ? [] : [withoutRecord(undeclared)]
  return { demands, sources: kept, digests, advice: [...advice, ...rest] }
}

async function advise(node: NodeContext, run: RunId, declared: readonly Declared[], signal: AbortSignal) {
  const request = { run, digests: declared.map(({ digest }) => digest) }
  try {
    return await node.client.call(RecordService.method.adviseRecords, request, { signal })
  } catch (error) {
    if (isUnimplemented(error)) return undefined
    throw error
  }
}

function adviceOn(
  node: NodeContext,
  { record, digest, withdrawn }: Declared,
  demands: Demands | null,
  told: AdviseRecordsResponse,
): DatasetAdvice {
  const { id, languages } = record
  const advice = (rejection: Rejection | undefined) => ({ id, digest, languages, rejection })
  if (withdrawn) return advice({ reason: 'CONSENT_WITHDRAWN', detail: `"${id}" was withdrawn here` })
  const remote = rejectionOf(told.records.find((one) => one.digest === digest)?.rejection)
  if (remote !== undefined || demands === null) return advice(remote)
  const now = node.clock.now()
  const trainedIn = told.jurisdiction === '' ? null : received(ensureJurisdiction, told.jurisdiction)
  const verdict = admit(record, { demands, trainedIn, now, until: now + safeNumber(told.roundMs) }, [])
  return advice(verdict.ok ? undefined : verdict.rejection)
}

function withoutRecord(sources: readonly DataSource[]): DatasetAdvice {
  const languages = [...new Set(sources.map(({ language }) => language))]
  const detail = `no record declares the text in ${languages.join(', ')}: tapestry dataset add`
  return { id: '', digest: undefined, languages, rejection: { reason: 'NO_RECORD', detail } }
}

/** @throws TapestryError VERIFICATION_FAILED for demands that this program does not know: it cannot tell if they are met. */
function demandsOf(message: DemandsMessage | undefined): Demands | null {
  if (message === undefined || message.withoutRecords) return null
  const { licence, uses, stage, coordinatedIn } = message
  return received((value: unknown) => demandsSchema.parse(value), {
    licence,
    uses,
    stage,
    coordinatedIn: coordinatedIn === '' ? null : coordinatedIn,
  })
}

function rejectionOf(message: { readonly reason: string; readonly detail: string } | undefined): Rejection | undefined {
  if (message === undefined) return undefined
  const reason = REJECTION_REASONS.find((known) => known === message.reason) ?? 'NO_RECORD'
  return { reason, detail: printable(message.detail) }
}
