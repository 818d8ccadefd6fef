import { z } from 'zod'
import { CODEC_NAMES, type Codec, F32 } from '../../core/codec.ts'
import { DEFAULT_DEMANDS, STAGES, type Stage, USES, type Use } from '../../core/demands.ts'
import { TapestryError } from '../../core/error.ts'
import {
  type Caps,
  capsText,
  DEFAULT_INFLUENCE,
  QUALITY_FLOORS,
  type QualityFloor,
  WEIGHTING_NAMES,
  type Weighting,
} from '../../core/influence-choice.ts'
import type { Jurisdiction } from '../../core/jurisdiction.ts'
import { EVIDENCE, type Evidence } from '../../core/release-gate.ts'
import { fewestContributions, MEAN, STRATEGY_NAMES, type Strategy } from '../../core/strategy.ts'
import { OperatorService } from '../../gen/proto/tapestry/v1/operator_pb.ts'
import { DEFAULT_RUN_POLICY } from '../../round/policy.ts'
import { defineCommand, flag, setting } from '../command.ts'
import {
  caps,
  channelName,
  codec,
  duration,
  jurisdiction,
  measure,
  releaseLicence,
  runId,
  strategy,
  weighting,
  wholeNumber,
} from '../input.ts'
import { OPERATOR_INPUT, OPERATOR_OPTIONS, withOperator } from '../operator-client.ts'
import { PRESET_NAMES, planSpecBytes } from '../plan-choice.ts'
import { shortDigest } from '../terminal.ts'

/** What the wire can carry; the coordinator checks the policy itself. */
const count = wholeNumber(1, 0xffffffff)

/** The initial weights are drawn, written and hashed before the answer: some 10 s for a gigabyte. */
const CREATE_MS = 3_600_000

export const runCreate = defineCommand({
  path: 'run create',
  summary: 'create a training programme and its first checkpoint',
  arguments: [{ name: '<id>', description: 'the run: a-z, 0-9, ".", "_", "-"' }],
  options: [
    ...OPERATOR_OPTIONS(),
    setting('--preset <name>', 'a plan that comes with tapestry').choices(PRESET_NAMES),
    setting('--plan <file>', 'a plan spec of your own, as JSON'),
    setting('--local-steps <n>', 'training steps of a node in a round'),
    setting('--batch-size <n>', 'sequences in a step'),
    setting('--learning-rate <x>', 'the peak learning rate'),
    setting('--seed <n>', 'seed of the initial parameters and of the held-out split'),
    setting('--target <n>', `nodes that make a round start collecting (${DEFAULT_RUN_POLICY.target})`),
    setting('--quorum <n>', `fewest accepted contributions that make a merge (${DEFAULT_RUN_POLICY.quorum})`),
    setting('--rounds <n>', `rounds until the run ends (${DEFAULT_RUN_POLICY.rounds})`),
    setting('--join-window <duration>', 'how long a round waits for nodes to join (1h)'),
    setting('--collect-window <duration>', 'how long a round waits for contributions (24h)'),
    setting('--evaluate-window <duration>', 'how long a round waits for evaluations (1h)'),
    flag('--continuous', 'open the next round when one ends (the default)'),
    flag('--no-continuous', 'open rounds by hand'),
    setting('--max-norm <x>', 'largest accepted norm of a delta (no limit)'),
    setting('--strategy <name:parameter=n,...>', `how contributions merge: ${STRATEGY_NAMES.join(', ')} (mean)`),
    setting('--weighting <name:parameter=n,...>', `shares before caps: ${WEIGHTING_NAMES.join(', ')} (uniform)`),
    setting('--cap <kind=share,...>', `largest share of one of a kind (${capsText(DEFAULT_INFLUENCE.caps)})`),
    setting('--quality-floor <name>', 'what a contribution has to pass (none)').choices(QUALITY_FLOORS),
    setting('--evidence <kind>', 'what nodes tell about held-out text (paired)').choices(EVIDENCE),
    setting(
      '--min-evaluation <tokens>',
      `a language with less text is unmeasured (${DEFAULT_RUN_POLICY.gate.minTokens})`,
    ),
    setting('--licence <id>', `SPDX id or LicenseRef that checkpoints are released under (${DEFAULT_DEMANDS.licence})`),
    flag('--use <use...>', `what the run does with data: ${USES.join(', ')} (${DEFAULT_DEMANDS.uses.join(', ')})`),
    setting('--stage <stage>', `how far its models reach: ${STAGES.join(', ')} (${DEFAULT_DEMANDS.stage})`),
    setting('--coordinated-in <place>', 'where the run is coordinated, as ISO 3166 (not said)'),
    flag('--without-records', 'take contributions that name no dataset records'),
    setting('--codec <name:parameter=n,...>', `how updates travel: ${CODEC_NAMES.join(', ')} (f32)`),
    setting(
      '--shard-size <bytes>',
      `weights larger than this are published in shards (${DEFAULT_RUN_POLICY.shardBytes})`,
    ),
    setting('--channel <name>', 'channel that published checkpoints move (global)'),
  ],
  input: z.object({
    ...OPERATOR_INPUT,
    id: runId,
    preset: z.enum(PRESET_NAMES).optional(),
    plan: z.string().optional(),
    localSteps: count.optional(),
    batchSize: count.optional(),
    learningRate: measure.optional(),
    seed: wholeNumber(0, Number.MAX_SAFE_INTEGER).optional(),
    target: count.optional(),
    quorum: count.optional(),
    rounds: count.optional(),
    joinWindow: duration.optional(),
    collectWindow: duration.optional(),
    evaluateWindow: duration.optional(),
    continuous: z.boolean().optional(),
    maxNorm: measure.optional(),
    strategy: strategy.optional(),
    weighting: weighting.optional(),
    cap: caps.optional(),
    qualityFloor: z.enum(QUALITY_FLOORS).optional(),
    evidence: z.enum(EVIDENCE).optional(),
    minEvaluation: wholeNumber(1, 1_000_000_000).optional(),
    licence: releaseLicence.optional(),
    use: z.array(z.enum(USES)).optional(),
    stage: z.enum(STAGES).optional(),
    coordinatedIn: jurisdiction.optional(),
    withoutRecords: z.boolean().default(false),
    codec: codec.optional(),
    shardSize: wholeNumber(1, DEFAULT_RUN_POLICY.shardBytes).optional(),
    channel: channelName.optional(),
  }),
  async run(input, { env }) {
    const plan = await planSpecBytes(input)
    const request = { run: input.id, plan, policy: policyOf(input), channel: input.channel ?? '' }
    const { planDigest, baseDigest } = await withOperator(input, env, (client) =>
      client.call(OperatorService.method.createRun, request, { deadlineMs: CREATE_MS }),
    )
    return {
      json: { run: input.id, planDigest, baseDigest },
      text: `run ${input.id} begins at ${shortDigest(baseDigest)}\nopen its first round: tapestry round start ${input.id}`,
    }
  },
})

type PolicyInput = {
  readonly target?: number | undefined
  readonly quorum?: number | undefined
  readonly rounds?: number | undefined
  readonly joinWindow?: number | undefined
  readonly collectWindow?: number | undefined
  readonly evaluateWindow?: number | undefined
  readonly continuous?: boolean | undefined
  readonly maxNorm?: number | undefined
  readonly strategy?: Strategy | undefined
  readonly weighting?: Weighting | undefined
  readonly cap?: Caps | undefined
  readonly qualityFloor?: QualityFloor | undefined
  readonly evidence?: Evidence | undefined
  readonly minEvaluation?: number | undefined
  readonly licence?: string | undefined
  readonly use?: readonly Use[] | undefined
  readonly stage?: Stage | undefined
  readonly coordinatedIn?: Jurisdiction | undefined
  readonly withoutRecords: boolean
  readonly codec?: Codec | undefined
  readonly shardSize?: number | undefined
}

/** A smaller target than the default quorum means: all of them. A strategy that needs more than the default gets it. */
function policyOf(input: PolicyInput) {
  const { name, parameters } = input.strategy ?? MEAN
  const usual = Math.max(DEFAULT_RUN_POLICY.quorum, fewestContributions(input.strategy ?? MEAN))
  const target = input.target ?? Math.max(DEFAULT_RUN_POLICY.target, input.quorum ?? usual)
  return {
    target,
    quorum: input.quorum ?? Math.min(usual, target),
    rounds: input.rounds ?? DEFAULT_RUN_POLICY.rounds,
    joinWindowMs: BigInt(input.joinWindow ?? DEFAULT_RUN_POLICY.joinWindowMs),
    collectWindowMs: BigInt(input.collectWindow ?? DEFAULT_RUN_POLICY.collectWindowMs),
    evaluateWindowMs: BigInt(input.evaluateWindow ?? DEFAULT_RUN_POLICY.evaluateWindowMs),
    continuous: input.continuous ?? DEFAULT_RUN_POLICY.continuous,
    maxNorm: input.maxNorm ?? DEFAULT_RUN_POLICY.maxNorm,
    strategy: { name, parameters: { ...parameters } },
    influence: influenceOf(input),
    gate: {
      evidence: input.evidence ?? DEFAULT_RUN_POLICY.gate.evidence,
      minTokens: input.minEvaluation ?? DEFAULT_RUN_POLICY.gate.minTokens,
    },
    demands: demandsOf(input),
    codec: wireCodec(input.codec ?? F32),
    shardBytes: BigInt(input.shardSize ?? DEFAULT_RUN_POLICY.shardBytes),
  }
}

function influenceOf({ weighting = DEFAULT_INFLUENCE.weighting, cap, qualityFloor }: PolicyInput) {
  const { name, parameters } = weighting
  return {
    weighting: { name, parameters: { ...parameters } },
    caps: cap ?? DEFAULT_INFLUENCE.caps,
    qualityFloor: qualityFloor ?? DEFAULT_INFLUENCE.floor,
  }
}

/** What is left out takes the coordinator's default. */
function demandsOf({ licence, use, stage, coordinatedIn, withoutRecords }: PolicyInput) {
  if (withoutRecords && (licence ?? use ?? stage ?? coordinatedIn) !== undefined) {
    throw new TapestryError('INVALID_ARGUMENT', '--without-records leaves nothing to ask of records')
  }
  return {
    withoutRecords,
    licence: licence ?? '',
    uses: [...(use ?? [])],
    stage: stage ?? '',
    coordinatedIn: coordinatedIn ?? '',
  }
}

function wireCodec({ name, parameters }: Codec) {
  return { name, parameters: { ...parameters } }
}
