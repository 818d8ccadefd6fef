import { z } from 'zod'
import type { Millis } from '../core/clock.ts'
import { ensureDigest } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import type { RunPolicy } from '../round/policy.ts'
import { deadlineOf, type Round } from '../round/round.ts'

const Count = z.number().int().nonnegative()
const Time = z.number()
const Address = z.string().transform(ensureDigest)

const Policy = z.object({
  target: Count,
  quorum: Count,
  joinWindowMs: Time,
  collectWindowMs: Time,
  evaluateWindowMs: Time,
  rounds: Count,
  continuous: z.boolean(),
  maxNorm: z.number().nonnegative(),
})

const Always = z.object({ base: Address, plan: Address, policy: Policy })
const Counted = Always.extend({ roster: Count, accepted: Count, refused: Count })
const Merged = Counted.extend({ candidate: Address, evaluated: Count })

const State = z.discriminatedUnion('phase', [
  Always.extend({ phase: z.literal('open'), joined: Count, deadline: Time }),
  Counted.extend({ phase: z.literal('collecting'), deadline: Time }),
  Counted.extend({ phase: z.literal('sealed') }),
  Counted.extend({ phase: z.literal('aggregating') }),
  Merged.extend({ phase: z.literal('evaluating'), deciding: z.boolean(), deadline: Time }),
  Merged.extend({ phase: z.literal('published'), checkpoint: Address }),
  Merged.extend({ phase: z.literal('rejected'), reason: z.string() }),
  Counted.extend({ phase: z.literal('failed'), reason: z.string() }),
])

/** Reads a round's state as it was written. @throws TapestryError DATA_INVALID for anything else. */
export function parseRound(state: unknown): Round {
  return parseStored(State, state, 'round state')
}

/** Reads a run's policy as it was written. @throws TapestryError DATA_INVALID for anything else. */
export function parsePolicy(policy: unknown): RunPolicy {
  return parseStored(Policy, policy, 'run policy')
}

/** Parses what the database returned. @throws TapestryError DATA_INVALID when it has another form. */
export function parseStored<T>(form: z.ZodType<T>, value: unknown, what: string): T {
  const parsed = form.safeParse(value)
  if (parsed.success) return parsed.data
  throw new TapestryError('DATA_INVALID', `the database holds an invalid ${what}`, { cause: parsed.error })
}

/** When time alone moves the round on: a round whose decision has been asked for waits for work, not for its deadline. */
export function timeoutOf(round: Round): Millis | undefined {
  return round.phase === 'evaluating' && round.deciding ? undefined : deadlineOf(round)
}
