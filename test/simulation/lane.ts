import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startEmbeddedPostgres } from '../../src/store/embedded-postgres.ts'
import { CLUSTER_VARIABLE } from '../postgres.ts'
import { testCoordinator } from '../rounds.ts'
import { type Report, simulate } from './schedule.ts'
import type { Spoil } from './spoil.ts'

/** Runs schedules one after another. */
export type Lane = { run(seed: number, spoil?: Spoil): Promise<Report>; close(): Promise<void> }

/** A lane in this process. Its database server is its own: schedules restart it. */
export async function openLane(): Promise<Lane> {
  const cluster = await mkdtemp(join(tmpdir(), 'tapestry-simulation-postgres-'))
  process.env[CLUSTER_VARIABLE] = cluster
  await startEmbeddedPostgres(cluster, { durable: false })
  const coordinator = await testCoordinator()
  return {
    run: (seed, spoil) => simulate(coordinator, seed, spoil),
    close: async () => {
      await coordinator.close()
      // By now it may be another one than was started.
      await (await startEmbeddedPostgres(cluster, { durable: false })).stop()
      await rm(cluster, { recursive: true, force: true })
    },
  }
}
