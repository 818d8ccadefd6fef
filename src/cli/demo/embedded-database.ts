import { join } from 'node:path'
import { isPostgres, readPostgresLock } from '../../store/postgres-lock.ts'
import { coordinatorPaths } from '../coordinator-directory.ts'

/**
 * The server process of a coordinator's embedded database; undefined when none runs. It outlives
 * the process that started it, so it is in nobody's process tree.
 */
export function databasePid(coordinator: string): number | undefined {
  const pid = readPostgresLock(join(coordinatorPaths(coordinator).postgres, 'postgres'))?.pid
  return pid !== undefined && isPostgres(pid) ? pid : undefined
}

/** Stops a database whose coordinator was killed before it could: SIGINT is PostgreSQL's fast shutdown. */
export function stopLeftDatabase(coordinator: string): void {
  const pid = databasePid(coordinator)
  if (pid === undefined) return
  try {
    process.kill(pid, 'SIGINT')
  } catch {
    // It has ended meanwhile.
  }
}
