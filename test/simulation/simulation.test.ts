import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Lane, openLane } from './lane.ts'

const SEEDS = Number(process.env['TAPESTRY_SIMULATION_SEEDS'] ?? 200)
const BATCH = 20

let lane: Lane

beforeAll(async () => {
  lane = await openLane()
})

afterAll(() => lane.close())

describe('schedules of everything that can go wrong', () => {
  it.each(Array.from({ length: Math.ceil(SEEDS / BATCH) }, (_, at) => 1 + at * BATCH))(
    `lose nothing and double nothing: ${BATCH} from seed %i`,
    async (first) => {
      for (let seed = first; seed < Math.min(first + BATCH, SEEDS + 1); seed += 1) {
        const { violations, rounds, operations } = await lane.run(seed)
        expect(violations, `seed ${seed}\n${rounds.join('\n')}\n${operations.join('\n')}`).toEqual([])
      }
    },
  )
})
