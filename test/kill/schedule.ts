import type { NodeEvent } from '../../src/participant/node-event.ts'
import { randomFrom } from '../../src/plan/random.ts'
import { type Disturb, VICTIMS, type Victim } from './take.ts'

/** What a kill waits for: the `count`th such event of its round, and then a little. */
type Kill = {
  readonly victim: Victim
  readonly after: NodeEvent['type']
  readonly count: number
  readonly delayMs: number
  /** Until it is started again. */
  readonly downMs: number
}

/** Each of them happens in every round; the pauses after them reach into merge, decision and the next round. */
const MOMENTS = ['joined', 'uploading', 'accepted', 'evaluated'] as const
const MOST_COUNT = 3
const MOST_DELAY_MS = 400
const MOST_DOWN_MS = 1500

/** One kill in each round, at a moment that the seed chooses. */
export function randomKill(seed: string, round: number): Kill {
  const random = randomFrom(`kill ${seed} ${round}`)
  const pick = <T>(list: readonly [T, ...T[]]) => list[random.below(list.length)] ?? list[0]
  return {
    victim: pick(VICTIMS),
    after: pick(MOMENTS),
    count: 1 + random.below(MOST_COUNT),
    delayMs: random.below(MOST_DELAY_MS),
    downMs: random.below(MOST_DOWN_MS),
  }
}

/** Kills once in each round for which there is a kill. */
export function killing(killOf: (round: number) => Kill | undefined): Disturb {
  const seen = new Map<string, number>()
  return (event, kill) => {
    if (!('key' in event)) return
    const { number } = event.key
    const wanted = killOf(number)
    if (wanted === undefined || wanted.after !== event.type) return
    const mark = `${number} ${event.type}`
    seen.set(mark, (seen.get(mark) ?? 0) + 1)
    if (seen.get(mark) === wanted.count) setTimeout(() => kill(wanted.victim, wanted.downMs), wanted.delayMs)
  }
}
