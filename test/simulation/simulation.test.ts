import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Lane, openLane } from './lane.ts'
import type { Report } from './schedule.ts'
import { SPOILS } from './spoil.ts'
import { Tally } from './tally.ts'

const SEEDS = Number(process.env['TAPESTRY_SIMULATION_SEEDS'] ?? 200)
const BATCH = 20
/** A defect that shows in fewer schedules than one in so many would be found late. */
const SEEDS_TO_NOTICE = 8

const HAPPENINGS = [
  ...['join', 'upload', 'submit', 'resubmit', 'evaluate', 'forget'],
  ...['killReplica', 'activity killed', 'partition', 'deliver', 'deliverTwice', 'wipeQueue'],
  ...['job run', 'job run again', 'passTime', 'outlive', 'turnClockBack', 'fillDisk', 'write on a full disk'],
  ...['transaction lost its connection', 'cutDatabase', 'restartDatabase'],
]

let lane: Lane

beforeAll(async () => {
  lane = await openLane()
})

afterAll(() => lane.close())

describe('schedules of everything that can go wrong', () => {
  const tally = new Tally()

  it.each(Array.from({ length: Math.ceil(SEEDS / BATCH) }, (_, at) => 1 + at * BATCH))(
    `lose nothing and double nothing: ${BATCH} from seed %i`,
    async (first) => {
      for (let seed = first; seed < Math.min(first + BATCH, SEEDS + 1); seed += 1) {
        const { violations, rounds, operations, counts } = await lane.run(seed)
        tally.addAll(counts)
        expect(violations, `seed ${seed}\n${rounds.join('\n')}\n${operations.join('\n')}`).toEqual([])
      }
    },
  )

  it.skipIf(SEEDS < 200)('have had everything happen', () => {
    expect(Object.keys(tally.counts())).toEqual(expect.arrayContaining(HAPPENINGS))
  })

  it('go the same way again', async () => {
    const [one, other] = [await lane.run(7), await lane.run(7)]
    expect(other).toEqual(one)
  })

  it.each(Object.entries(SPOILS))('notice a coordinator that %s', async (_, spoil) => {
    let found: Report['violations'] = []
    for (let seed = 1; seed <= SEEDS_TO_NOTICE && found.length === 0; seed += 1) {
      found = (await lane.run(seed, spoil)).violations
    }
    expect(found).not.toEqual([])
  })
})
