import type { MessageInitShape } from '@bufbuild/protobuf'
import { ensureCodec, F32 } from '../core/codec.ts'
import { DEFAULT_DEMANDS, type Demands, demandsSchema } from '../core/demands.ts'
import { TapestryError } from '../core/error.ts'
import { DEFAULT_INFLUENCE, ensureInfluence, type Influence } from '../core/influence-choice.ts'
import { ensureJurisdiction } from '../core/jurisdiction.ts'
import { DEFAULT_GATE, ensureGate, type ReleaseGate } from '../core/release-gate.ts'
import { ensureStrategy, fewestContributions, MEAN, type Strategy } from '../core/strategy.ts'
import type {
  Demands as DemandsMessage,
  DemandsSchema,
  Influence as InfluenceMessage,
  ReleaseGate as ReleaseGateMessage,
  RunPolicy as RunPolicyMessage,
  RunPolicySchema,
} from '../gen/proto/tapestry/v1/operator_pb.ts'
import type { Strategy as StrategyMessage } from '../gen/proto/tapestry/v1/round_pb.ts'
import { ensureReleaseLicence } from '../policy/licence.ts'
import { DEFAULT_RUN_POLICY, ensureRunPolicy, type RunPolicy } from '../round/policy.ts'
import { codecMessage, strategyMessage } from './message.ts'

/** Reads a policy; fields that are 0 take their defaults. @throws TapestryError INVALID_ARGUMENT out of range. */
export function policyOf(message: RunPolicyMessage | undefined): RunPolicy {
  if (message === undefined) return DEFAULT_RUN_POLICY
  const or = (value: number | bigint, usual: number) => Number(value) || usual
  const strategy = strategyOf(message.strategy)
  const usual = Math.max(DEFAULT_RUN_POLICY.quorum, fewestContributions(strategy))
  const target = or(message.target, Math.max(DEFAULT_RUN_POLICY.target, usual))
  return ensureRunPolicy({
    target,
    quorum: or(message.quorum, Math.min(target, usual)),
    joinWindowMs: or(message.joinWindowMs, DEFAULT_RUN_POLICY.joinWindowMs),
    collectWindowMs: or(message.collectWindowMs, DEFAULT_RUN_POLICY.collectWindowMs),
    evaluateWindowMs: or(message.evaluateWindowMs, DEFAULT_RUN_POLICY.evaluateWindowMs),
    rounds: or(message.rounds, DEFAULT_RUN_POLICY.rounds),
    continuous: message.continuous,
    maxNorm: message.maxNorm,
    strategy,
    influence: influenceOf(message.influence),
    gate: gateOf(message.gate),
    demands: demandsOf(message.demands),
    codec: message.codec === undefined ? F32 : ensureCodec(message.codec.name, message.codec.parameters),
    shardBytes: or(message.shardBytes, DEFAULT_RUN_POLICY.shardBytes),
  })
}

/** Fields that are empty take their defaults. @throws TapestryError INVALID_ARGUMENT for what no record could meet. */
function demandsOf(message: DemandsMessage | undefined): Demands | null {
  if (message === undefined) return DEFAULT_DEMANDS
  if (message.withoutRecords) return null
  const parsed = demandsSchema.safeParse({
    licence: message.licence || DEFAULT_DEMANDS.licence,
    uses: message.uses.length > 0 ? [...new Set(message.uses)].sort() : DEFAULT_DEMANDS.uses,
    stage: message.stage || DEFAULT_DEMANDS.stage,
    coordinatedIn: message.coordinatedIn === '' ? null : ensureJurisdiction(message.coordinatedIn),
  })
  if (parsed.success) return { ...parsed.data, licence: ensureReleaseLicence(parsed.data.licence) }
  const [issue] = parsed.error.issues
  throw new TapestryError('INVALID_ARGUMENT', `demands.${issue?.path.join('.')}: ${issue?.message}`)
}

export function demandsMessage(demands: Demands | null): MessageInitShape<typeof DemandsSchema> {
  if (demands === null) return { withoutRecords: true }
  const { licence, uses, stage, coordinatedIn } = demands
  return { licence, uses: [...uses], stage, coordinatedIn: coordinatedIn ?? '' }
}

/** @throws TapestryError INVALID_ARGUMENT for an unknown strategy or parameters that do not fit it. */
function strategyOf(message: StrategyMessage | undefined): Strategy {
  return message === undefined ? MEAN : ensureStrategy(message.name, message.parameters)
}

/** @throws TapestryError INVALID_ARGUMENT for an unknown weighting or floor, or a cap out of range. */
function influenceOf(message: InfluenceMessage | undefined): Influence {
  const { weighting, caps, floor } = DEFAULT_INFLUENCE
  if (message === undefined) return DEFAULT_INFLUENCE
  return ensureInfluence({
    weighting: message.weighting === undefined ? weighting : choiceOf(message.weighting),
    caps: {
      node: message.caps?.node || caps.node,
      member: message.caps?.member || caps.member,
      jurisdiction: message.caps?.jurisdiction || caps.jurisdiction,
      language: message.caps?.language || caps.language,
    },
    floor: message.qualityFloor || floor,
  })
}

function choiceOf({
  name,
  parameters,
}: {
  readonly name: string
  readonly parameters: Readonly<Record<string, number>>
}) {
  return { name, parameters: { ...parameters } }
}

/** @throws TapestryError INVALID_ARGUMENT for evidence that is unknown. */
function gateOf(message: ReleaseGateMessage | undefined): ReleaseGate {
  if (message === undefined) return DEFAULT_GATE
  const { evidence, minTokens } = message
  return ensureGate({ evidence: evidence || DEFAULT_GATE.evidence, minTokens: minTokens || DEFAULT_GATE.minTokens })
}

export function policyMessage(policy: RunPolicy): MessageInitShape<typeof RunPolicySchema> {
  const { weighting, caps, floor } = policy.influence
  return {
    ...policy,
    joinWindowMs: BigInt(policy.joinWindowMs),
    collectWindowMs: BigInt(policy.collectWindowMs),
    evaluateWindowMs: BigInt(policy.evaluateWindowMs),
    strategy: strategyMessage(policy.strategy),
    influence: { weighting: choiceOf(weighting), caps, qualityFloor: floor },
    demands: demandsMessage(policy.demands),
    codec: codecMessage(policy.codec),
    shardBytes: BigInt(policy.shardBytes),
  }
}
