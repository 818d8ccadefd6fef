import { existsSync } from 'node:fs'
import { readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startEmbeddedPostgres } from '../src/store/embedded-postgres.ts'
import { CLUSTER_VARIABLE } from './postgres.ts'

const PREFIX = 'tapestry-test-postgres-'

/**
 * vitest globalSetup: names a cluster for this run, which the first test that wants a database
 * starts, and ends it after the run. Clusters of runs that were killed are ended too.
 */
export default async function setup(): Promise<() => Promise<void>> {
  await endOrphans()
  const directory = join(tmpdir(), `${PREFIX}${process.pid}`)
  process.env[CLUSTER_VARIABLE] = directory
  return () => endCluster(directory)
}

async function endOrphans(): Promise<void> {
  for (const name of await readdir(tmpdir())) {
    const pid = Number(name.startsWith(PREFIX) ? name.slice(PREFIX.length) : Number.NaN)
    if (Number.isInteger(pid) && !isAlive(pid)) await endCluster(join(tmpdir(), name))
  }
}

async function endCluster(directory: string): Promise<void> {
  if (!existsSync(directory)) return
  if (existsSync(join(directory, 'postgres'))) {
    const server = await startEmbeddedPostgres(directory, { durable: false })
    await server.stop()
  }
  await rm(directory, { recursive: true, force: true })
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
}
