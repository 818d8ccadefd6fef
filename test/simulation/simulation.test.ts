import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type TestCoordinator, testCoordinator } from '../rounds.ts'
import { simulate } from './schedule.ts'

const SEEDS = Number(process.env['TAPESTRY_SIMULATION_SEEDS'] ?? 40)

let coordinator: TestCoordinator

beforeAll(async () => {
  coordinator = await testCoordinator()
})

afterAll(() => coordinator.close())

describe('schedules of everything that can go wrong', () => {
  it.each(Array.from({ length: SEEDS }, (_, index) => index + 1))(
    'seed %i loses nothing and doubles nothing',
    async (seed) => {
      const report = await simulate(coordinator, seed)
      expect(report.violations, `${report.rounds.join('\n')}\n${report.operations.join('\n')}`).toEqual([])
    },
  )
})
