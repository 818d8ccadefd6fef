import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { F32 } from '../core/codec.ts'
import { digestOf } from '../core/digest.ts'
import { ensureStrategy, MEAN } from '../core/strategy.ts'
import { parseRound } from './codec.ts'
import { DEFAULT_RUN_POLICY, ensureRunPolicy, type RunPolicy } from './policy.ts'
import { deadlineOf, hasEnded, openRound, type Round } from './round.ts'
import { type RoundEvent, type Standing, type Step, step, type Work } from './step.ts'

const BASE = digestOf('base')
const PLAN = digestOf('plan')
const CANDIDATE = digestOf('candidate')
const CHECKPOINT = digestOf('checkpoint')

const policy: fc.Arbitrary<RunPolicy> = fc
  .record({
    target: fc.integer({ min: 1, max: 6 }),
    quorum: fc.integer({ min: 1, max: 6 }),
    joinWindowMs: fc.integer({ min: 1, max: 400 }),
    collectWindowMs: fc.integer({ min: 1, max: 400 }),
    evaluateWindowMs: fc.integer({ min: 1, max: 400 }),
    rounds: fc.constant(3),
    continuous: fc.boolean(),
    maxNorm: fc.constant(0),
    strategy: fc.constant(MEAN),
    influence: fc.constantFrom('none' as const, 'peers' as const).map((floor) => {
      return { ...DEFAULT_RUN_POLICY.influence, floor }
    }),
    gate: fc.constant(DEFAULT_RUN_POLICY.gate),
    demands: fc.constant(null),
    codec: fc.constant(F32),
    shardBytes: fc.constant(DEFAULT_RUN_POLICY.shardBytes),
  })
  .map((fields) => ({ ...fields, quorum: Math.min(fields.quorum, fields.target) }))

/** Something that may happen; who it concerns is chosen among those it can concern. */
type Happening = {
  readonly kind:
    | 'join'
    | 'accept'
    | 'refuse'
    | 'decline'
    | 'drop'
    | 'review'
    | 'start'
    | 'candidate'
    | 'evaluate'
    | 'publish'
    | 'block'
    | 'abandon'
    | 'carry'
    | 'void'
    | 'replace'
    | 'time'
  readonly who: number
  readonly wait: number
}

const happening: fc.Arbitrary<Happening> = fc.record({
  kind: fc.oneof(
    { weight: 10, arbitrary: fc.constant('join' as const) },
    { weight: 12, arbitrary: fc.constant('accept' as const) },
    { weight: 3, arbitrary: fc.constant('refuse' as const) },
    { weight: 2, arbitrary: fc.constant('decline' as const) },
    { weight: 1, arbitrary: fc.constant('drop' as const) },
    { weight: 6, arbitrary: fc.constant('review' as const) },
    { weight: 6, arbitrary: fc.constant('start' as const) },
    { weight: 6, arbitrary: fc.constant('candidate' as const) },
    { weight: 6, arbitrary: fc.constant('evaluate' as const) },
    { weight: 1, arbitrary: fc.constant('publish' as const) },
    { weight: 1, arbitrary: fc.constant('block' as const) },
    { weight: 1, arbitrary: fc.constant('abandon' as const) },
    { weight: 1, arbitrary: fc.constant('carry' as const) },
    { weight: 1, arbitrary: fc.constant('void' as const) },
    { weight: 1, arbitrary: fc.constant('replace' as const) },
    { weight: 3, arbitrary: fc.constant('time' as const) },
  ),
  who: fc.nat(7),
  wait: fc.oneof({ weight: 12, arbitrary: fc.nat(3) }, { weight: 1, arbitrary: fc.nat(400) }),
})

/** Long enough to see rounds to their end. */
const happenings = fc.array(happening, { maxLength: 120, size: 'max' })

/** What the store keeps beside the round: the roster. */
type World = {
  round: Round
  now: number
  standings: Map<number, Standing>
  evaluated: Set<number>
  declined: Set<number>
}

/** The event that the store would make of it; undefined when its own rows already stop it. */
function eventOf(world: World, { kind, who }: Happening): RoundEvent | undefined {
  const from = world.declined.has(who) ? undefined : world.standings.get(who)
  switch (kind) {
    case 'join':
      return !world.standings.has(who) && world.round.phase === 'open' ? { type: 'node-joined' } : undefined
    case 'accept':
      return from === undefined ? undefined : { type: 'contribution-accepted', from }
    case 'refuse':
      return from === undefined ? undefined : { type: 'contribution-refused', from }
    case 'decline':
      return from === undefined ? undefined : { type: 'member-declined', from, evaluated: world.evaluated.has(who) }
    case 'drop':
      return world.standings.get(who) === 'accepted' ? { type: 'contribution-dropped', reason: 'ejected' } : undefined
    case 'review':
      return { type: 'review-stored' }
    case 'start':
      return { type: 'aggregation-started' }
    case 'candidate':
      return { type: 'candidate-written', candidate: CANDIDATE, optimizerState: null, excused: excusedIn(world) }
    case 'evaluate':
      return from !== 'accepted' || world.evaluated.has(who) ? undefined : { type: 'evaluation-stored' }
    case 'publish':
      return { type: 'checkpoint-published', checkpoint: CHECKPOINT }
    case 'block':
      return { type: 'release-refused', reason: 'worse' }
    case 'abandon':
      return { type: 'work-abandoned', reason: 'gave up' }
    case 'carry':
      return { type: 'override-carried' }
    case 'void':
      return { type: 'override-void' }
    case 'replace':
      return { type: 'base-replaced', reason: 'the run goes on from elsewhere' }
    case 'time':
      return { type: 'time-passed' }
  }
}

function excusedIn({ standings, declined, evaluated }: World): number {
  return [...declined].filter((who) => standings.get(who) === 'accepted' && !evaluated.has(who)).length
}

/** Keeps the rows as the store does: in step with what the machine took. */
function record(world: World, happened: Happening, event: RoundEvent, before: Round): void {
  if (event.type === 'node-joined') world.standings.set(happened.who, 'joined')
  const collecting = before.phase === 'collecting'
  if (event.type === 'member-declined') {
    if (before.phase === 'open') world.standings.delete(happened.who)
    else if (collecting || (event.from === 'accepted' && !hasEnded(before))) world.declined.add(happened.who)
  }
  if (event.type === 'contribution-dropped' && !hasEnded(before) && before.phase !== 'evaluating') {
    world.standings.set(happened.who, 'joined')
    world.declined.add(happened.who)
  }
  if (event.type === 'contribution-accepted' && collecting) world.standings.set(happened.who, 'accepted')
  if (event.type === 'contribution-refused' && collecting && event.from !== 'accepted') {
    world.standings.set(happened.who, 'refused')
  }
  if (event.type === 'evaluation-stored' && before.phase === 'evaluating') world.evaluated.add(happened.who)
}

type Trace = { readonly before: Round; readonly event: RoundEvent; readonly now: number; readonly step: Step }

function play(rules: RunPolicy, played: readonly Happening[]): { world: World; trace: Trace[] } {
  const world: World = {
    round: openRound(BASE, PLAN, rules, 1000),
    now: 1000,
    standings: new Map(),
    evaluated: new Set(),
    declined: new Set(),
  }
  const trace: Trace[] = []
  for (const happened of played) {
    world.now += happened.wait
    const event = eventOf(world, happened)
    if (event === undefined) continue
    const before = world.round
    for (const one of [event, ...assignment(before, event, world.now, happened.who)]) {
      const taken = step(world.round, one, world.now)
      trace.push({ before: world.round, event: one, now: world.now, step: taken })
      world.round = taken.round
    }
    record(world, happened, event, before)
  }
  return { world, trace }
}

/** The store names the reviewers in the transaction that seals a round, before anything else happens. */
function assignment(before: Round, event: RoundEvent, now: number, reviews: number): RoundEvent[] {
  const sealed = before.phase === 'collecting' && step(before, event, now).round.phase === 'reviewing'
  return sealed ? [{ type: 'reviewers-assigned', reviews }] : []
}

/** Plays random rounds and checks every step of each. */
function always(check: (one: Trace, world: World) => void): void {
  fc.assert(
    fc.property(policy, happenings, (rules, played) => {
      const { world, trace } = play(rules, played)
      for (const one of trace) check(one, world)
    }),
    { numRuns: 500, seed: 20261123 },
  )
}

describe('step', () => {
  it('reaches every phase in random play, so that the properties below speak of all of them', () => {
    const phases = new Set<string>()
    always((one) => void phases.add(one.step.round.phase))
    expect([...phases].sort()).toEqual([
      'aggregating',
      'collecting',
      'evaluating',
      'failed',
      'open',
      'published',
      'rejected',
      'reviewing',
      'sealed',
    ])
  })

  it('never counts more submissions than the roster has members, nor below zero', () => {
    always(({ step: { round } }) => {
      if (round.phase === 'open') return
      expect(round.accepted).toBeGreaterThanOrEqual(0)
      expect(round.refused).toBeGreaterThanOrEqual(0)
      expect(round.accepted + round.refused + round.declined).toBeLessThanOrEqual(round.roster)
      expect(Math.min(round.refused, round.declined)).toBeGreaterThanOrEqual(0)
      expect(round.roster).toBeLessThanOrEqual(round.policy.target)
      if (round.phase === 'reviewing') expect(round.reviewed).toBeLessThanOrEqual(round.reviews)
      if ('evaluated' in round) expect(round.evaluated).toBeLessThanOrEqual(round.accepted)
      if ('excused' in round) expect(round.evaluated + round.excused).toBeLessThanOrEqual(round.accepted)
    })
  })

  it('counts what the rows say', () => {
    fc.assert(
      fc.property(policy, happenings, (rules, played) => {
        const { world } = play(rules, played)
        const { round, standings, evaluated, declined } = world
        const standing = (what: Standing) =>
          [...standings].filter(([who, one]) => one === what && (one === 'accepted' || !declined.has(who))).length
        if (round.phase === 'open') {
          expect(round.joined).toBe(standings.size)
          return
        }
        expect(round.roster).toBe(standings.size)
        expect(round.accepted).toBe(standing('accepted'))
        expect(round.refused).toBe(standing('refused'))
        expect(round.declined).toBe([...declined].filter((who) => standings.get(who) !== 'accepted').length)
        if (round.phase !== 'evaluating' || round.deciding) return
        expect(round.evaluated).toBe(evaluated.size)
        expect(round.excused).toBe(excusedIn(world))
      }),
      { numRuns: 500, seed: 7 },
    )
  })

  it('changes nothing once a round has ended, unless operators override', () => {
    always(({ before, event, step: taken }) => {
      if (!hasEnded(before)) return
      const overrides = before.phase === 'rejected' && (before.overridden || event.type === 'override-carried')
      if (!overrides) expect(taken).toEqual({ round: before, changed: false, work: [] })
    })
  })

  it('says "changed" exactly when the round is another', () => {
    always(({ before, step: taken }) => {
      expect(taken.changed).toBe(JSON.stringify(before) !== JSON.stringify(taken.round))
      if (!taken.changed) expect(taken.work).toEqual([])
    })
  })

  it('takes the same submission of the same member once', () => {
    always(({ event, now, step: taken }) => {
      const again = repeated(event)
      if (again === undefined || (deadlineOf(taken.round) ?? now + 1) <= now) return
      expect(step(taken.round, again, now).changed).toBe(false)
    })
  })

  it('merges only with a quorum', () => {
    always(({ step: { round } }) => {
      if (round.phase === 'open' || round.phase === 'collecting' || round.phase === 'failed') return
      expect(round.accepted).toBeGreaterThanOrEqual(round.policy.quorum)
    })
  })

  it('asks for each kind of work at most once, and exactly once in a round that needed it', () => {
    fc.assert(
      fc.property(policy, happenings, (rules, played) => {
        const { trace } = play(rules, played)
        const asked = trace.flatMap((one) => one.step.work)
        const times = (kind: Work) => asked.filter((work) => work === kind).length
        const sealed = trace.some((one) => one.step.round.phase === 'sealed')
        const deciding = trace.some(({ step: { round } }) => round.phase === 'evaluating' && round.deciding)
        expect(times('aggregate')).toBe(sealed ? 1 : 0)
        expect(times('decide')).toBe(deciding ? 1 : 0)
      }),
      { numRuns: 500, seed: 11 },
    )
  })

  it('leaves a phase whose deadline has come, and never before it for want of time', () => {
    always(({ before, now }) => {
      const deadline = deadlineOf(before)
      const waiting = deadline !== undefined && !(before.phase === 'evaluating' && before.deciding)
      if (!waiting) return
      const { round, changed } = step(before, { type: 'time-passed' }, now)
      if (now < deadline && !isFull(before)) expect(changed).toBe(false)
      if (now >= deadline)
        expect(round.phase !== before.phase || (round.phase === 'evaluating' && round.deciding)).toBe(true)
    })
  })

  it('moves along the loop only', () => {
    const next: Record<Round['phase'], readonly Round['phase'][]> = {
      open: ['open', 'collecting', 'failed'],
      collecting: ['collecting', 'reviewing', 'sealed', 'failed'],
      reviewing: ['reviewing', 'sealed', 'failed'],
      sealed: ['sealed', 'aggregating', 'failed'],
      aggregating: ['aggregating', 'evaluating', 'failed'],
      evaluating: ['evaluating', 'published', 'rejected', 'failed'],
      published: ['published'],
      rejected: ['rejected', 'published'],
      failed: ['failed'],
    }
    always(({ before, step: { round } }) => expect(next[before.phase]).toContain(round.phase))
  })

  it('keeps base, plan and policy, and always survives its JSON form', () => {
    always(({ before, step: { round } }) => {
      expect([round.base, round.plan, round.policy]).toEqual([before.base, before.plan, before.policy])
      expect(parseRound(JSON.parse(JSON.stringify(round)))).toEqual(round)
    })
  })

  it('does not touch the round it is given', () => {
    always(({ before, event, now }) => {
      const text = JSON.stringify(before)
      step(before, event, now)
      expect(JSON.stringify(before)).toBe(text)
    })
  })
})

describe('an override', () => {
  const counted = {
    base: BASE,
    plan: PLAN,
    policy: DEFAULT_RUN_POLICY,
    roster: 3,
    accepted: 2,
    refused: 1,
    declined: 0,
  }
  const rejected: Round = {
    ...counted,
    phase: 'rejected',
    candidate: CANDIDATE,
    optimizerState: null,
    evaluated: 2,
    reason: 'sw got worse',
    overridden: false,
  }
  const published: RoundEvent = { type: 'checkpoint-published', checkpoint: CHECKPOINT }

  it('publishes a rejected candidate, once it is carried and never before', () => {
    expect(step(rejected, published, 1).changed).toBe(false)
    const carried = step(rejected, { type: 'override-carried' }, 1)
    expect(carried).toEqual({ round: { ...rejected, overridden: true }, changed: true, work: ['override'] })
    expect(step(carried.round, { type: 'override-carried' }, 1).changed).toBe(false)
    const { round } = step(carried.round, published, 1)
    expect(round).toEqual({
      ...counted,
      phase: 'published',
      candidate: CANDIDATE,
      evaluated: 2,
      checkpoint: CHECKPOINT,
    })
  })

  it('that came too late leaves the round rejected', () => {
    const carried = step(rejected, { type: 'override-carried' }, 1).round
    expect(step(carried, { type: 'override-void' }, 1)).toEqual({ round: rejected, changed: true, work: [] })
    expect(step(rejected, { type: 'override-void' }, 1).changed).toBe(false)
  })

  it('of another round ends every round that goes on from the old base, and no other', () => {
    always(({ before }) => {
      const { round, changed } = step(before, { type: 'base-replaced', reason: 'elsewhere' }, 0)
      expect(changed).toBe(!hasEnded(before))
      if (changed) expect(round).toMatchObject({ phase: 'failed', reason: 'elsewhere' })
    })
  })
})

/** A submission as it would come a second time: the member's standing is now what the first made it. */
function repeated(event: RoundEvent): RoundEvent | undefined {
  if (event.type === 'contribution-accepted') return { ...event, from: 'accepted' }
  if (event.type === 'contribution-refused')
    return { ...event, from: event.from === 'accepted' ? 'accepted' : 'refused' }
  return undefined
}

function isFull(round: Round): boolean {
  if (round.phase === 'collecting') return round.accepted + round.refused + round.declined >= round.roster
  return round.phase === 'evaluating' && round.evaluated + round.excused >= round.accepted
}

describe('a member that declines', () => {
  const shared = { base: BASE, plan: PLAN, policy: { ...DEFAULT_RUN_POLICY, quorum: 2 }, refused: 0 }
  const left: RoundEvent = { type: 'member-declined', from: 'joined', evaluated: false }

  it('is not waited for', () => {
    const round: Round = { ...shared, phase: 'collecting', roster: 3, accepted: 2, declined: 0, deadline: 10 }
    expect(step(round, left, 1)).toMatchObject({ round: { phase: 'sealed', declined: 1 }, work: ['aggregate'] })
  })

  it('ends a round at once that cannot reach its quorum any more', () => {
    const round: Round = { ...shared, phase: 'collecting', roster: 2, accepted: 1, declined: 0, deadline: 10 }
    expect(step(round, left, 1).round).toMatchObject({ phase: 'failed', declined: 1 })
  })

  it('is not waited for when it had contributed and would only evaluate', () => {
    const round: Round = { ...shared, phase: 'aggregating', roster: 2, accepted: 2, declined: 0 }
    const written: RoundEvent = { type: 'candidate-written', candidate: CANDIDATE, optimizerState: null, excused: 1 }
    const evaluating = step(round, written, 1).round
    expect(evaluating).toMatchObject({ phase: 'evaluating', excused: 1, deciding: false })
    expect(step(evaluating, { type: 'evaluation-stored' }, 2).work).toEqual(['decide'])
    expect(step(round, { ...written, excused: 2 }, 1).work).toEqual(['decide'])
  })
})

describe('a contribution that is dropped', () => {
  const shared = { base: BASE, plan: PLAN, policy: { ...DEFAULT_RUN_POLICY, quorum: 2 }, refused: 0, declined: 0 }
  const drop: RoundEvent = { type: 'contribution-dropped', reason: 'ejected' }

  it('leaves a merge of the others, or none', () => {
    const round: Round = { ...shared, phase: 'aggregating', roster: 3, accepted: 3 }
    const left = step(round, drop, 1).round
    expect(left).toMatchObject({ phase: 'aggregating', accepted: 2, declined: 1 })
    expect(step(left, drop, 1).round).toMatchObject({ phase: 'failed', reason: 'ejected' })
  })

  it('may end the reviews, when the others have been heard', () => {
    const round: Round = {
      ...shared,
      phase: 'reviewing',
      roster: 3,
      accepted: 3,
      reviews: 6,
      reviewed: 2,
      deadline: 10,
    }
    const left = step(round, drop, 1).round
    expect(left).toMatchObject({ phase: 'reviewing', accepted: 2, declined: 1 })
    const recounted: RoundEvent = { type: 'reviews-recounted', reviews: 2, reviewed: 2 }
    expect(step(left, recounted, 1)).toMatchObject({ round: { phase: 'sealed' }, work: ['aggregate'] })
  })

  it('takes the candidate with it', () => {
    const candidate = { candidate: CANDIDATE, optimizerState: null, evaluated: 0, excused: 0, deciding: true }
    const round: Round = { ...shared, ...candidate, phase: 'evaluating', roster: 3, accepted: 3, deadline: 10 }
    expect(step(round, drop, 1).round).toMatchObject({ phase: 'failed', reason: 'ejected' })
  })
})

describe('a round whose floor is its peers', () => {
  const influence = { ...DEFAULT_RUN_POLICY.influence, floor: 'peers' as const }
  const shared = { base: BASE, plan: PLAN, policy: { ...DEFAULT_RUN_POLICY, influence }, roster: 5, accepted: 5 }
  const reviewing: Round = {
    ...shared,
    phase: 'reviewing',
    refused: 0,
    declined: 0,
    reviews: 2,
    reviewed: 1,
    deadline: 10,
  }

  it('merges when the last review is in, at its deadline, and at once when nobody can review', () => {
    const stored: RoundEvent = { type: 'review-stored' }
    expect(step(reviewing, stored, 9)).toMatchObject({ round: { phase: 'sealed' }, work: ['aggregate'] })
    expect(step(reviewing, { type: 'time-passed' }, 10)).toMatchObject({ round: { phase: 'sealed' } })
    expect(step(reviewing, { type: 'time-passed' }, 9).changed).toBe(false)
    const unassigned: Round = { ...reviewing, reviews: 0, reviewed: 0 }
    expect(step(unassigned, { type: 'reviewers-assigned', reviews: 0 }, 9).round.phase).toBe('sealed')
    expect(step(unassigned, { type: 'reviewers-assigned', reviews: 1 }, 9).round).toMatchObject({ reviews: 1 })
  })
})

describe('a strategy that needs many contributions', () => {
  const krum = ensureStrategy('krum', { byzantine: 1 })

  it('is refused with a smaller quorum, or for more nodes than it can compare', () => {
    const refused = expect.objectContaining({ code: 'INVALID_ARGUMENT' })
    const run = { ...DEFAULT_RUN_POLICY, strategy: krum }
    expect(() => ensureRunPolicy({ ...run, quorum: 4 })).toThrow(refused)
    expect(ensureRunPolicy({ ...run, quorum: 5 }).strategy).toBe(krum)
    expect(() => ensureRunPolicy({ ...run, quorum: 5, target: 5000 })).toThrow(refused)
  })

  it('never merges fewer, whatever the quorum says', () => {
    const run = { ...DEFAULT_RUN_POLICY, strategy: krum, quorum: 2 }
    const shared = { base: BASE, plan: PLAN, policy: run, roster: 5, refused: 0, declined: 0, deadline: 10 }
    const round: Round = { ...shared, phase: 'collecting', accepted: 3 }
    const accepted: RoundEvent = { type: 'contribution-accepted', from: 'joined' }
    const late = step(round, accepted, 10)
    expect(late.work).toEqual([])
    expect(late.round).toMatchObject({
      phase: 'failed',
      accepted: 4,
      reason: expect.stringMatching(/4 of the 5.*krum/),
    })
    expect(step({ ...round, accepted: 4 }, accepted, 9).round.phase).toBe('sealed')
  })
})
