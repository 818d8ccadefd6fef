import { hasEnded } from '../../src/round/round.ts'
import type { TestCoordinator } from '../rounds.ts'
import type { Activity } from './activity.ts'
import { Dice } from './dice.ts'
import { LEASE_MS, SimulatedFederation, WINDOW_MS } from './federation.ts'
import { violations } from './invariants.ts'
import type { SimulatedNode } from './node.ts'
import type { Spoil } from './spoil.ts'

/** How likely each operation is, against the others. */
const OPERATIONS = {
  step: 50,
  finish: 20,
  act: 30,
  actTwice: 5,
  work: 8,
  sweep: 6,
  deliver: 8,
  deliverTwice: 3,
  outlive: 0.5,
  wipeQueue: 1,
  killReplica: 2,
  passTime: 4,
  turnClockBack: 1,
  fillDisk: 1,
  freeDisk: 3,
  loseConnections: 2,
  cutDatabase: 0.3,
  restartDatabase: 0.02,
  forget: 1,
  partition: 2,
  reconnect: 4,
} as const

type Operation = keyof typeof OPERATIONS

const MOST_OPERATIONS = 400
/** Once nothing breaks any more, a run ends within this many turns. */
const MOST_TURNS = 60

/** What a schedule did, and what it should not have. */
export type Report = {
  readonly seed: number
  readonly operations: readonly string[]
  readonly rounds: readonly string[]
  /** How often each operation took place. */
  readonly counts: Readonly<Record<string, number>>
  readonly violations: readonly string[]
}

/**
 * Runs the schedule of one seed: operations in random order while everything may break, then a time
 * in which nothing does, at the end of which the run must have ended and nothing may be lost.
 * The database of `coordinator` is emptied first.
 * @param spoil what is wrong with the coordinator on purpose
 */
export async function simulate(coordinator: TestCoordinator, seed: number, spoil?: Spoil): Promise<Report> {
  const dice = new Dice(seed)
  const federation = await SimulatedFederation.open(coordinator, dice, spoil)
  const schedule = new Schedule(federation, dice)
  try {
    await schedule.storm()
    const ended = await schedule.calm()
    const found = await violations(federation)
    const late = ended ? [] : ['the run did not end after everything worked again']
    const rounds = await roundsOf(federation)
    const counts = federation.tally.counts()
    return { seed, operations: schedule.operations, rounds, counts, violations: [...late, ...found] }
  } finally {
    await federation.close()
  }
}

async function roundsOf({ context, run }: SimulatedFederation): Promise<string[]> {
  const rounds = await context.store.reader.rounds({ run: run.id, limit: 100 })
  return rounds.map(({ key, round }) => `${key.number} ${round.phase}${'reason' in round ? `: ${round.reason}` : ''}`)
}

class Schedule {
  /** In order, for whoever looks for what went wrong. */
  readonly operations: string[] = []
  readonly #federation: SimulatedFederation
  readonly #dice: Dice
  readonly #unreachable = new Set<SimulatedNode>()

  constructor(federation: SimulatedFederation, dice: Dice) {
    this.#federation = federation
    this.#dice = dice
  }

  async storm(): Promise<void> {
    for (let count = 0; count < MOST_OPERATIONS; count += 1) await this.#perform(this.#dice.choose(OPERATIONS))
  }

  /** Everything works again. True when the run ended. */
  async calm(): Promise<boolean> {
    const { weather, nodes } = this.#federation
    weather.diskFull = false
    weather.lostConnections = 0
    this.#unreachable.clear()
    await this.#finishAll()
    for (let turn = 0; turn < MOST_TURNS; turn += 1) {
      const newest = await this.#federation.newestRound()
      const { key, round } = newest
      if (hasEnded(round) && key.number >= this.#federation.run.policy.rounds && !(await this.#hasJobs())) return true
      let acted = false
      for (const node of nodes) acted = (await this.#federation.act(node, { round: newest })) || acted
      await this.#finishAll()
      this.#federation.sweep()
      this.#federation.work()
      await this.#finishAll()
      // Only windows are waited for when nobody has anything to do.
      this.#federation.advanceClock(acted ? WINDOW_MS / 8 : WINDOW_MS / 2)
    }
    return false
  }

  async #hasJobs(): Promise<boolean> {
    const { reader } = this.#federation.context.store
    return (await reader.jobs({ states: ['ready', 'leased'], limit: 1 })).length > 0
  }

  async #finishAll(): Promise<void> {
    for (let next = this.#federation.waiting(); next.length > 0; next = this.#federation.waiting()) {
      for (const activity of next) await activity.finish()
    }
  }

  async #perform(operation: Operation): Promise<void> {
    const federation = this.#federation
    const dice = this.#dice
    switch (operation) {
      case 'step':
        return this.#step(dice.pick(federation.waiting()))
      case 'finish':
        return this.#step(dice.pick(federation.waiting()), true)
      case 'act':
      case 'actTwice': {
        // Mostly a node waits for its answer; now and then it gives up, and asks again.
        const impatient = dice.chance(0.1)
        const able = federation.nodes.filter(
          (one) => !this.#unreachable.has(one) && (impatient || !federation.isBusy(one)),
        )
        const node = dice.pick(able)
        if (node && (await federation.act(node, { copies: operation === 'act' ? 1 : 2 })))
          this.#log(operation, node.row.name)
        return
      }
      case 'work':
        return federation.work()
      case 'sweep':
        return federation.sweep()
      case 'deliver':
      case 'deliverTwice':
        return this.#deliver(operation === 'deliver' ? 1 : 2)
      case 'outlive':
        // The job in hand is another's by now, and its first holder does not know yet: it runs twice.
        this.#move(LEASE_MS + 1)
        return federation.work()
      case 'killReplica': {
        const replica = dice.pick(federation.replicas()) ?? 0
        this.#log(operation, String(replica))
        federation.tally.add(operation)
        return federation.kill(replica)
      }
      case 'passTime':
        return this.#move(dice.chance(0.2) ? LEASE_MS + WINDOW_MS / 4 : dice.between(1, LEASE_MS / 3))
      case 'turnClockBack':
        return this.#move(-dice.between(1, LEASE_MS / 6))
      default:
        return this.#break(operation)
    }
  }

  async #break(operation: Operation): Promise<void> {
    const { weather, nodes, queue } = this.#federation
    const node = this.#dice.pick(nodes)
    this.#log(operation, node?.row.name ?? '')
    if (operation !== 'wipeQueue' || queue.length > 0) this.#federation.tally.add(operation)
    if (operation === 'fillDisk') weather.diskFull = true
    if (operation === 'freeDisk') weather.diskFull = false
    if (operation === 'loseConnections') weather.lostConnections = this.#dice.between(1, 3)
    if (operation === 'cutDatabase') await this.#federation.cutDatabase()
    if (operation === 'restartDatabase') await this.#federation.restartDatabase()
    if (operation === 'wipeQueue') queue.length = 0
    if (operation === 'forget') node?.forget()
    if (operation === 'partition' && node) this.#unreachable.add(node)
    if (operation === 'reconnect' && node) this.#unreachable.delete(node)
  }

  /** A wake reaches a worker, or two: a queue promises neither that it arrives nor that it arrives once. */
  #deliver(times: number): void {
    const job = this.#federation.queue.shift()
    if (job === undefined) return
    this.#log('wake', `${job} x${times}`)
    this.#federation.tally.add(times === 1 ? 'deliver' : 'deliverTwice')
    for (let time = 0; time < times; time += 1) this.#federation.work()
  }

  async #step(activity: Activity | undefined, toEnd = false): Promise<void> {
    if (activity === undefined) return
    await (toEnd ? activity.finish() : activity.step())
    this.#log(activity.name, activity.over ? 'ended' : activity.at)
  }

  #move(ms: number): void {
    this.#log('clock', `${ms} ms`)
    this.#federation.tally.add(ms < 0 ? 'turnClockBack' : ms > LEASE_MS ? 'outlive' : 'passTime')
    this.#federation.advanceClock(ms)
  }

  #log(operation: string, detail: string): void {
    this.operations.push(`${operation}: ${detail}`)
  }
}
