import { z } from 'zod'
import { canonicalBytes } from '../core/canonical-json.ts'
import { type Codec, codecSchema } from '../core/codec.ts'
import { type Digest, digestOf } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import {
  ensureFederationId,
  ensureMemberId,
  ensureNodeId,
  ensureRunId,
  type FederationId,
  type MemberId,
  type NodeId,
  type RunId,
} from '../core/ids.ts'
import { ensureLanguageTag } from '../core/language-tag.ts'
import { compareText } from '../core/order.ts'
import { type Strategy, strategySchema } from '../core/strategy.ts'
import { type Override, overrideSchema } from './override.ts'
import { branded, digestSchema, parseCanonical } from './parsing.ts'
import { findPathClash, isReleasePath } from './release-path.ts'

/** One contribution that was merged. `payload` and `bytes`: its delta file; `languages`: tokens trained on, by tag. */
export type MergedContribution = {
  readonly id: Digest
  readonly node: NodeId
  readonly member: MemberId
  readonly payload: Digest
  readonly bytes: number
  /** Share that policy gave it, 0 to 1, before the strategy; all weights add up to 1. */
  readonly weight: number
  /** Why it has this weight. */
  readonly reason: string
  readonly languages: Readonly<Record<string, number>>
}

/** Held-out loss in nats per token (lower is better), its standard error, and the tokens it was measured on. */
export type Score = { readonly mean: number; readonly standardError: number; readonly tokens: number }

/** Base and candidate on the same held-out text, and who measured. */
export type LanguageScores = {
  readonly base: Score
  readonly candidate: Score
  readonly measuredBy: readonly string[]
}

/** What the release gate found about a language (`community` empty) or one community of it. */
export type GateGroup = {
  readonly language: string
  readonly community: string
  readonly verdict: 'better' | 'same' | 'worse' | 'unmeasured'
  /** Nodes whose reports lay furthest apart and were not counted. */
  readonly leftOut: readonly string[]
  /** Candidate minus base in nats per token, and the interval that holds it; absent when unmeasured. */
  readonly evidence?:
    | {
        readonly method: 'bootstrap' | 'normal' | 'band'
        /** Held-out sequences behind it; 0 when only means were told. */
        readonly sequences: number
        readonly difference: number
        readonly low: number
        readonly high: number
      }
    | undefined
}

/** By which rules, at which one-sided confidence, and with which result the candidate was let through. */
export type GateResult = { readonly policy: string; readonly confidence: number; readonly groups: readonly GateGroup[] }

export type ReleasedFile = { readonly path: string; readonly digest: Digest; readonly size: number }

/** Contributions of one round that a revision merged again, in order of node; their weights add up to 1. */
export type RevisionStep = { readonly round: number; readonly contributions: readonly MergedContribution[] }

/** What a checkpoint says that merges again what a revocation left. */
export type Revision = {
  /** Number of the revocation within the run. */
  readonly revocation: number
  /** Checkpoints that it takes the place of, oldest first. */
  readonly replaces: readonly Digest[]
  /** Share of it that was trained from what the revoked contributions had moved, 0 to 1: docs/REVOCATION.md. */
  readonly indirectInfluence: number
  /** Each is merged into what the one before made, the first into the base. */
  readonly steps: readonly RevisionStep[]
}

/**
 * What a checkpoint is made of and where it comes from. Holds no time and nothing random: the
 * same inputs give the same bytes, and their digest names the checkpoint.
 */
export type Manifest = {
  readonly format: 'tapestry-manifest/1'
  readonly federation: FederationId
  readonly run: RunId
  /** Counts releases of the run; 0 is the initial checkpoint. */
  readonly version: number
  /** The round that made it; 0 for the initial checkpoint. */
  readonly round: number
  readonly parents: readonly Digest[]
  readonly plan: Digest
  /** The checkpoint the round started from; null for the initial checkpoint. */
  readonly base: Digest | null
  /** How the round merged: with it, the base and the payloads anyone can repeat the merge. */
  readonly strategy: Strategy
  /** What the payloads are encoded in; left out for F32. */
  readonly codec?: Codec | undefined
  /** Most bytes of tensors in a file of the weights, where they are in shards; left out where one file holds them. */
  readonly shardBytes?: number | undefined
  /** In order of node: the order in which they were merged. Each node once. None for a revision. */
  readonly contributions: readonly MergedContribution[]
  /** Only where a revocation made it. */
  readonly revision?: Revision | undefined
  /** By language tag. */
  readonly scores: Readonly<Record<string, LanguageScores>>
  /** In order of language and community; absent for the initial checkpoint and for older releases. */
  readonly gate?: GateResult | undefined
  /** Why the candidate was released although the gate had blocked it; absent where it had not. */
  readonly override?: Override | undefined
  /** In order of path. */
  readonly files: readonly ReleasedFile[]
}

/** Weights are sums of 64-bit fractions: this allows for their rounding, and for nothing else. */
const WEIGHT_TOLERANCE = 1e-9

const count = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER)
const shortText = z.string().min(1).max(500)
const languageTag = z.string().refine(isLanguageTag, 'not a language tag')

const contributionSchema = z.strictObject({
  id: digestSchema,
  node: branded(ensureNodeId),
  member: branded(ensureMemberId),
  payload: digestSchema,
  bytes: count,
  weight: z.number().min(0).max(1),
  reason: shortText,
  languages: z.record(languageTag, count),
})

const stepSchema = z
  .strictObject({ round: count, contributions: z.array(contributionSchema).min(1) })
  .refine(({ contributions }) => weightsAddUp(contributions), 'the weights do not add up to 1')
  .refine(({ contributions }) => ascend(contributions.map(({ node }) => node)), 'contributions are not in order')

const revisionSchema = z.strictObject({
  revocation: count,
  replaces: z.array(digestSchema),
  indirectInfluence: z.number().min(0).max(1),
  steps: z.array(stepSchema).min(1),
})

const scoreSchema = z.strictObject({ mean: z.number().min(0), standardError: z.number().min(0), tokens: count })

const gateSchema = z.strictObject({
  policy: shortText,
  confidence: z.number().min(0).max(1),
  groups: z.array(
    z.strictObject({
      language: languageTag,
      community: z.string().max(500),
      verdict: z.enum(['better', 'same', 'worse', 'unmeasured']),
      leftOut: z.array(shortText),
      evidence: z
        .strictObject({
          method: z.enum(['bootstrap', 'normal', 'band']),
          sequences: count,
          difference: z.number(),
          low: z.number(),
          high: z.number(),
        })
        .optional(),
    }),
  ),
})

const manifestSchema = z
  .strictObject({
    format: z.literal('tapestry-manifest/1'),
    federation: branded(ensureFederationId),
    run: branded(ensureRunId),
    version: count,
    round: count,
    parents: z.array(digestSchema),
    plan: digestSchema,
    base: digestSchema.nullable(),
    strategy: strategySchema,
    codec: codecSchema.refine(({ name }) => name !== 'f32', 'F32 is left out').optional(),
    shardBytes: count.min(1).optional(),
    contributions: z.array(contributionSchema),
    revision: revisionSchema.optional(),
    scores: z.record(
      languageTag,
      z.strictObject({ base: scoreSchema, candidate: scoreSchema, measuredBy: z.array(shortText) }),
    ),
    gate: gateSchema.optional(),
    override: overrideSchema.optional(),
    files: z.array(
      z.strictObject({
        path: z.string().refine(isReleasePath, 'not a safe relative path'),
        digest: digestSchema,
        size: count,
      }),
    ),
  })
  .refine(({ contributions }) => weightsAddUp(contributions), 'the weights do not add up to 1')
  .refine(
    ({ contributions }) => ascend(contributions.map(({ node }) => node)),
    'contributions are not in order of node',
  )
  .refine(({ contributions, revision }) => !revision || contributions.length === 0, 'a revision has only its steps')
  .refine(({ files }) => ascend(files.map(({ path }) => path)), 'files are not in order of path')
  .refine(({ files }) => findPathClash(files.map(({ path }) => path)) === undefined, 'two paths clash')
  .refine(({ gate }) => gate === undefined || ascend(gate.groups.map(groupKey)), 'groups of the gate are not in order')
  .refine(
    ({ scores }) => Object.values(scores).every(({ measuredBy }) => ascend(measuredBy)),
    'measuredBy not in order',
  )

/**
 * The manifest's canonical bytes. Contributions, files and measuredBy may come in any order.
 * @throws TapestryError INVALID_ARGUMENT for a manifest that {@link parseManifest} would refuse
 */
export function manifestBytes(manifest: Manifest): Uint8Array {
  const arranged = arrange(manifest)
  const parsed = manifestSchema.safeParse(arranged)
  if (!parsed.success) {
    throw new TapestryError('INVALID_ARGUMENT', 'the manifest is not valid', { cause: parsed.error })
  }
  return canonicalBytes(arranged)
}

/** What the gate found as {@link manifestBytes} states it: canonical JSON. Its digest is what an override names. */
export function gateBytes(gate: GateResult): Uint8Array {
  return canonicalBytes(inOrder(gate))
}

/** The digest that names the checkpoint: SHA-256 of {@link manifestBytes}. */
export function manifestDigest(manifest: Manifest): Digest {
  return digestOf(manifestBytes(manifest))
}

/**
 * Reads a manifest from anywhere. The bytes must be exactly what {@link manifestBytes} gives.
 * @throws TapestryError VERIFICATION_FAILED
 */
export function parseManifest(bytes: Uint8Array): Manifest {
  return parseCanonical(bytes, manifestSchema, 'manifest.json')
}

function arrange(manifest: Manifest): Manifest {
  const scores = Object.entries(manifest.scores).map(([tag, score]): [string, LanguageScores] => [
    tag,
    { ...score, measuredBy: [...score.measuredBy].sort() },
  ])
  return {
    ...manifest,
    ...(manifest.gate && { gate: inOrder(manifest.gate) }),
    contributions: [...manifest.contributions].sort((a, b) => compareText(a.node, b.node)),
    scores: Object.fromEntries(scores),
    files: [...manifest.files].sort((a, b) => compareText(a.path, b.path)),
  }
}

/** What was merged, one merge after another: one of the round's contributions, or those of a revision; none at first. */
export function mergesOf({
  round,
  contributions,
  revision,
}: Pick<Manifest, 'round' | 'contributions' | 'revision'>): readonly RevisionStep[] {
  return revision?.steps ?? (contributions.length === 0 ? [] : [{ round, contributions }])
}

function inOrder(gate: GateResult): GateResult {
  return { ...gate, groups: gate.groups.toSorted((a, b) => compareText(groupKey(a), groupKey(b))) }
}

/** A tab stands in no language tag and before every printable character. */
const groupKey = ({ language, community }: Pick<GateGroup, 'language' | 'community'>) => `${language}\t${community}`

/** Strictly ascending, so also without repeats. */
function ascend(texts: readonly string[]): boolean {
  return texts.every((text, index) => index === 0 || compareText(texts[index - 1] ?? '', text) < 0)
}

function weightsAddUp(contributions: readonly { readonly weight: number }[]): boolean {
  if (contributions.length === 0) return true
  const sum = contributions.reduce((total, { weight }) => total + weight, 0)
  return Math.abs(sum - 1) <= WEIGHT_TOLERANCE
}

function isLanguageTag(text: string): boolean {
  try {
    ensureLanguageTag(text)
    return true
  } catch {
    return false
  }
}
