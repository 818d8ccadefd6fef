import type { Context } from '../context.ts'
import { TapestryError } from '../core/error.ts'
import { ownMigrations } from '../store/migrate.ts'
import type { Check, Checks } from '../telemetry/readiness.ts'
import { openCoordinatorDirectory } from './coordinator-directory.ts'
import type { CoordinatorParts } from './coordinator-parts.ts'
import { redisAnswers } from './redis-ping.ts'

/** Work that nobody has taken for so long is no longer on its way to a worker: one polls every two seconds. */
const UNTAKEN_MS = 60_000
/** What is looked at of a backlog: it is as long as there are rounds in progress. */
const MOST_JOBS = 1_000

/** What server and worker cannot do their work without. `leastBytes` must be free in the storage. */
export async function commonChecks({ context, paths }: CoordinatorParts, leastBytes: number): Promise<Checks> {
  const { store, blobs, freeBytes } = context
  const own = await ownMigrations()
  return {
    database: async () => {
      if (!(await store.ready())) throw new TapestryError('UNAVAILABLE', 'the database does not answer')
    },
    schema: async () => {
      const applied = new Set(await store.reader.migrations())
      const missing = [...own.keys()].filter((name) => !applied.has(name))
      if (missing.length > 0) throw new TapestryError('DATA_VERSION', `the database lacks ${missing.join(', ')}`)
    },
    storage: () => blobs.check(),
    disk: async () => {
      const free = await freeBytes()
      if (free >= leastBytes) return
      throw new TapestryError('DISK_FULL', `${free} bytes are free, ${leastBytes} are needed`)
    },
    keys: readable(() => openCoordinatorDirectory(paths.root)),
  }
}

function readable(read: () => Promise<unknown>): Check {
  return async () => {
    await read().catch((cause: unknown) => {
      throw cause instanceof TapestryError
        ? cause
        : new TapestryError('DATA_INVALID', 'the keys cannot be read', { cause })
    })
  }
}

/** What calls are answered without, though rounds may come late or not on: a balancer that turned away would help nobody. */
export function degradingChecks({ store, clock, config }: Context): Checks {
  const { redisUrl } = config
  return {
    workers: async () => {
      const jobs = await store.reader.jobs({ states: ['ready', 'leased'], limit: MOST_JOBS })
      const now = clock.now()
      const isHeld = ({ leaseUntil }: { readonly leaseUntil: number | null }) => leaseUntil !== null && leaseUntil > now
      if (jobs.some(isHeld)) return
      const oldest = Math.min(...jobs.map(({ updatedAt }) => updatedAt))
      if (now - oldest < UNTAKEN_MS || jobs.length === 0) return
      // The same words as long as it lasts: what changes is told again.
      throw new TapestryError(
        'UNAVAILABLE',
        `no worker takes the jobs that wait since ${new Date(oldest).toISOString()}`,
      )
    },
    ...(redisUrl !== undefined && {
      redis: async () => {
        if (await redisAnswers(redisUrl)) return
        throw new TapestryError('UNAVAILABLE', 'Redis does not answer: workers find their jobs by polling')
      },
    }),
  }
}
