import { X509Certificate } from 'node:crypto'
import { existsSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { type ServerConfig, serverConfig } from '../../config.ts'
import type { Clock } from '../../core/clock.ts'
import { TapestryError } from '../../core/error.ts'
import type { FederationId } from '../../core/ids.ts'
import { OperatorService } from '../../gen/proto/tapestry/v1/operator_pb.ts'
import { holderOf } from '../../participant/directory-lock.ts'
import { type DatabaseExamination, examineDatabase } from '../../store/examination.ts'
import { isPostgres, readPostgresLock } from '../../store/postgres-lock.ts'
import { openStorage } from '../../store/storage.ts'
import { type CoordinatorPaths, coordinatorPaths, openCoordinatorDirectory } from '../coordinator-directory.ts'
import { openDatabase } from '../coordinator-parts.ts'
import { isFileSystemError } from '../named-file.ts'
import { withOperator } from '../operator-client.ts'
import { redisAnswers } from '../redis-ping.ts'
import { type Diagnosis, type Examination, fail, ok, warn } from './diagnosis.ts'
import { examineClock, examineDisk, examineEnd, examineKeys } from './machine.ts'

const KEYS = ['ca.key', 'ca.crt', 'release.key', 'log.key', 'operator.key', 'operator.crt'] as const
/** Renewing an authority takes every member: a year is not too early to think of it. */
const AUTHORITY_WARNING_MS = 365 * 24 * 3_600_000

type Environment = Readonly<Record<string, string | undefined>>

/** What a coordinator needs, looked at beside a running one or before its first start. Nothing is migrated or changed. */
export function coordinatorExaminations(dir: string, env: Environment, clock: Clock): readonly Examination[] {
  const paths = coordinatorPaths(dir)
  const opened = async () => {
    const { secrets, federation, file } = await openCoordinatorDirectory(dir, 'required')
    return { secrets, federation, config: serverConfig({ flags: {}, env, file }) }
  }
  const directory: Examination = {
    check: 'directory',
    examine: async () => ok(`federation ${(await opened()).federation.id} in ${dir}`),
  }
  const others: readonly Examination[] = [
    { check: 'keys', examine: () => examineKeys(paths.keys, KEYS, (name) => name.endsWith('.key')) },
    {
      check: 'authority',
      examine: async () => {
        const end = Date.parse(new X509Certificate((await opened()).secrets.authority.certificate).validTo)
        const remedy = 'plan a new authority: every member has to learn of it'
        return examineEnd('the authority', end, clock.now(), AUTHORITY_WARNING_MS, remedy)
      },
    },
    {
      check: 'disk',
      examine: async () => examineDisk(dir, (await opened()).config.minFreeBytes),
    },
    {
      check: 'blobs',
      examine: async () => examineBlobs((await opened()).config, paths),
    },
    {
      check: 'database',
      examine: async () => {
        const { config, federation } = await opened()
        return onDatabase(config, paths, (found) => judgeDatabase(found, federation.id))
      },
    },
    {
      check: 'database clock',
      needs: 'database',
      examine: async () => {
        const sent = clock.now()
        const judge = ({ now }: DatabaseExamination) => examineClock(sent, now, clock.now(), 'the database')
        return onDatabase((await opened()).config, paths, judge)
      },
    },
    { check: 'redis', examine: async () => examineRedis((await opened()).config) },
    { check: 'port', examine: async () => examinePort((await opened()).config, dir, env) },
  ]
  return [directory, ...others.map((one) => ({ needs: directory.check, ...one }))]
}

async function examineBlobs({ storage }: ServerConfig, paths: CoordinatorPaths): Promise<Diagnosis> {
  const { where, probe } = await openStorage(storage, paths)
  await probe()
  return ok(`${where} keeps what is written`)
}

/** On the running database, or on one that is started for this and stopped again; one that was never made stays unmade. */
async function onDatabase(
  config: ServerConfig,
  paths: CoordinatorPaths,
  judge: (found: DatabaseExamination) => Diagnosis,
): Promise<Diagnosis> {
  if (config.databaseUrl === undefined && !existsSync(paths.postgres)) {
    return warn('there is none yet', 'the first start makes it')
  }
  if (config.databaseUrl === undefined) await requireItsDatabase(paths)
  const database = await openDatabase(config, paths)
  try {
    return judge(await examineDatabase(database.url))
  } finally {
    if (database.started) await database.stop()
  }
}

/** Starting the database of a coordinator that has lost it would hide what is wrong, and end again with this look. */
async function requireItsDatabase(paths: CoordinatorPaths): Promise<void> {
  const server = readPostgresLock(join(paths.postgres, 'postgres'))
  if (server !== undefined && isPostgres(server.pid)) return
  const holder = await holderOf(paths.lock)
  if (holder === undefined) return
  throw new TapestryError('UNAVAILABLE', `the coordinator (process ${holder}) runs, but its database has ended`, {
    hint: `look at ${join(paths.postgres, 'postgres', 'server.log')}; stop the coordinator and start it again`,
  })
}

function judgeDatabase({ missing, unknown, federation }: DatabaseExamination, own: FederationId): Diagnosis {
  if (federation !== undefined && federation !== own) {
    return fail(`it belongs to ${federation}`, 'give this directory a database of its own')
  }
  if (unknown.length > 0) return warn(`a newer build has migrated it (${unknown.at(-1)})`, 'update this machine, too')
  if (missing.length > 0) return warn(`${missing.length} migrations are due`, 'the next start applies them')
  return ok('it answers, and its schema is up to date')
}

async function examineRedis({ redisUrl }: ServerConfig): Promise<Diagnosis> {
  if (redisUrl === undefined) return ok('not used: workers are woken through the database')
  if (await redisAnswers(redisUrl)) return ok('it answers')
  return warn('it does not answer', 'workers find their jobs by polling meanwhile; start it, or unset REDIS_URL')
}

/** The port is this coordinator's own, or free. */
async function examinePort({ host, port }: ServerConfig, dir: string, env: Environment): Promise<Diagnosis> {
  const serving = await withOperator({ dir }, env, async (client) => {
    await client.call(OperatorService.method.listRuns, {}, { attempts: 1, deadlineMs: 5_000 })
    return client.address.text
  }).catch(() => undefined)
  if (serving !== undefined) return ok(`the coordinator serves at ${serving}`)
  const holder = await holderOf(coordinatorPaths(dir).lock)
  if (holder !== undefined)
    return fail(`the coordinator (process ${holder}) runs and does not answer`, 'mend what else is found; read its log')
  const problem = await bindProblem(host, port)
  if (problem === undefined)
    return warn(`the coordinator does not serve; ${host}:${port} is free`, `tapestry coordinator serve --dir ${dir}`)
  return fail(
    `the coordinator does not serve and ${host}:${port} cannot be used: ${problem}`,
    'choose another --port or --host',
  )
}

function bindProblem(host: string, port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', (error) => resolve(isFileSystemError(error, 'EADDRINUSE') ? 'it is in use' : error.message))
    server.listen(port, host, () => server.close(() => resolve(undefined)))
  })
}
