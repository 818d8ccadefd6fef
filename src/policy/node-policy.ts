import { z } from 'zod'
import { type Demands, USES, type Use } from '../core/demands.ts'
import type { Digest } from '../core/digest.ts'
import { ensureFederationId, ensureRunId, type FederationId, type RunId } from '../core/ids.ts'
import { branded, digestSchema } from '../model/parsing.ts'

/** What a node lets itself be asked, and what it lets out. Whatever is left out is not limited. */
export type NodePolicy = {
  /** Federations whose coordinators may ask. */
  readonly coordinators?: readonly FederationId[] | undefined
  readonly runs?: readonly RunId[] | undefined
  /** Plans by digest, as `tapestry run ls --json` shows them. */
  readonly plans?: readonly Digest[] | undefined
  /** What a run may use data for: every use that it names has to be here. */
  readonly uses?: readonly Use[] | undefined
  /** What a run may release its checkpoints under. */
  readonly licences?: readonly string[] | undefined
  /** 0: the coordinator sees each contribution. No other tier exists yet, so a node cannot ask for one. */
  readonly privacy?: 0 | undefined
  /** Largest L2 norm of a delta. */
  readonly maxNorm?: number | undefined
  /** Largest file that is sent. */
  readonly maxBytes?: number | undefined
  /** false: no run in which nodes of other members are shown this node's contribution to score it. */
  readonly peers?: boolean | undefined
  readonly protected?: ProtectedDomains | undefined
}

/** What is never trained on, measured on or committed to. */
export type ProtectedDomains = {
  /** Folders and glob patterns. */
  readonly paths?: readonly string[] | undefined
  readonly terms?: readonly string[] | undefined
  /** Files with a term a line, beside the policy unless absolute. */
  readonly termFiles?: readonly string[] | undefined
}

const RULES = ['coordinators', 'runs', 'plans', 'uses', 'licences', 'peers', 'maxNorm', 'maxBytes', 'records'] as const
export type Rule = (typeof RULES)[number]

/** Why a node does not do what it was asked. */
export type Refusal = { readonly rule: Rule; readonly detail: string }

const list = <T extends string>(item: z.ZodType<T>) => z.array(item).max(10_000).readonly().optional()
const words = list(z.string().min(1).max(1000))

/** Strict: a misspelt rule must not silently allow everything. */
export const nodePolicySchema: z.ZodType<NodePolicy> = z.strictObject({
  coordinators: list(branded(ensureFederationId)),
  runs: list(branded(ensureRunId)),
  plans: list(digestSchema),
  uses: list(z.enum(USES)),
  licences: words,
  privacy: z.literal(0, 'only tier 0 exists').optional(),
  maxNorm: z.number().positive().optional(),
  maxBytes: z.number().int().positive().optional(),
  peers: z.boolean().optional(),
  protected: z.strictObject({ paths: words, terms: words, termFiles: words }).optional(),
})

/** What a coordinator asks a node to take part in. */
export type Invitation = {
  readonly federation: FederationId
  readonly run: RunId
  /** Undefined when the run has had no round that named it. */
  readonly plan: Digest | undefined
  /** Null when the run does not say what it does with data. */
  readonly demands: Demands | null
  /** Nodes of other members are shown contributions. */
  readonly peerReviews: boolean
}

/** The first rule that forbids taking part; undefined when none does. */
export function objectionTo(policy: NodePolicy, invitation: Invitation): Refusal | undefined {
  const { federation, run, plan, demands, peerReviews } = invitation
  const { coordinators, runs, plans, uses, licences, peers } = policy
  if (forbids(coordinators, federation)) return refusal('coordinators', `federation ${federation} is not among them`)
  if (forbids(runs, run)) return refusal('runs', `run ${run} is not among them`)
  if (forbids(plans, plan)) return refusal('plans', `plan ${plan ?? '(not known yet)'} is not among them`)
  if (uses !== undefined) {
    const use = demands === null ? 'an unstated use' : demands.uses.find((one) => !uses.includes(one))
    if (use !== undefined) return refusal('uses', `run ${run} asks for ${use}`)
  }
  if (peers === false && peerReviews) return refusal('peers', `run ${run} shows contributions to other nodes`)
  if (licences === undefined) return undefined
  const licence = demands?.licence ?? 'an unstated licence'
  return forbids(licences, licence) ? refusal('licences', `run ${run} releases under ${licence}`) : undefined
}

/** The rule that keeps a delta from leaving; undefined when none does. */
export function objectionToSending(
  { maxNorm, maxBytes }: NodePolicy,
  delta: { readonly bytes: number; readonly norm: number },
): Refusal | undefined {
  if (maxBytes !== undefined && delta.bytes > maxBytes) {
    return refusal('maxBytes', `the update has ${delta.bytes} bytes, at most ${maxBytes} may leave`)
  }
  // Written so that a norm which is no number is refused.
  if (maxNorm === undefined || delta.norm <= maxNorm) return undefined
  return refusal('maxNorm', `the update has norm ${delta.norm}, at most ${maxNorm} may leave`)
}

function forbids<T>(allowed: readonly T[] | undefined, value: T | undefined): boolean {
  return allowed !== undefined && (value === undefined || !allowed.includes(value))
}

function refusal(rule: Rule, detail: string): Refusal {
  return { rule, detail }
}

/** One line of a node's record of refusals. */
export type LoggedRefusal = Refusal & { readonly at: string; readonly run: string; readonly round: number }

export const loggedRefusalSchema: z.ZodType<LoggedRefusal> = z.strictObject({
  at: z.string(),
  run: z.string(),
  round: z.number(),
  rule: z.enum(RULES),
  detail: z.string(),
})
