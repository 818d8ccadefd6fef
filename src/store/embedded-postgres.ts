import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, realpath, rename, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'
import { TapestryError } from '../core/error.ts'
import { type PostgresAccount, postgresAccount } from './postgres-account.ts'
import { type PostgresBinaries, postgresBinaries } from './postgres-binaries.ts'
import { disarmStaleLock, isPostgres, readPostgresLock } from './postgres-lock.ts'

export type EmbeddedPostgres = {
  /** Connection string of the `tapestry` database. Holds the password: never log it. */
  readonly url: string
  /** The server process. */
  readonly pid: number
  /** False when a server that was already running was attached to: whoever started it decides when it stops. */
  readonly started: boolean
  /** Stops the server for every process that uses it. Harmless when it has stopped. */
  stop(): Promise<void>
}

export type EmbeddedPostgresOptions = {
  /** False trades survival of a machine's crash (not of a process's) for speed: for tests. Default true. */
  readonly durable?: boolean
}

type Cluster = {
  readonly directory: string
  readonly binaries: PostgresBinaries
  readonly account: PostgresAccount
  readonly password: string
  readonly durable: boolean
}

const NAME = 'tapestry'
const PASSWORD_FILE = 'tapestry.password'
const PORT_FILE = 'tapestry.port'
const LOG_FILE = 'server.log'
/** Crash recovery of a large write-ahead log is the slowest honest start. */
const START_TIMEOUT_MS = 120_000
const RETRY_MS = 200
/** A coordinator and up to 64 workers of a few connections each, and room for an operator. */
const MAX_CONNECTIONS = 200
/**
 * The database holds rows about rounds, never weights: a few megabytes. It gives its memory and its helper processes back
 * to the merge, and keeps everything that makes it durable.
 */
const SMALL = {
  shared_buffers: '16MB',
  work_mem: '1MB',
  maintenance_work_mem: '16MB',
  autovacuum_max_workers: '1',
  // Nobody replicates it, so nobody is kept to do so.
  max_logical_replication_workers: '0',
  max_wal_senders: '0',
  wal_level: 'minimal',
  max_parallel_workers: '0',
  max_worker_processes: '0',
  io_method: 'sync',
  jit: 'off',
} as const
/** An aside directory this old belongs to a starter that was killed. */
const ABANDONED_AFTER_MS = 3_600_000

/**
 * Starts the bundled PostgreSQL on `<directory>/postgres`, or attaches to it when it runs already.
 * The server listens on 127.0.0.1 only, asks for a generated password (scram-sha-256, kept 0600),
 * outlives this process, and keeps its port over restarts while the port is free. Any number of
 * processes may call this at the same time.
 * @throws TapestryError DATA_VERSION when another major version made the directory; DISK_FULL;
 *   UNAVAILABLE when the server cannot be started.
 */
export async function startEmbeddedPostgres(
  directory: string,
  options: EmbeddedPostgresOptions = {},
): Promise<EmbeddedPostgres> {
  await mkdir(directory, { recursive: true })
  const home = await realpath(directory)
  const cluster = await openCluster(home, options.durable ?? true)
  const { port, pid, started } = await attachOrStart(cluster)
  await createDatabase(cluster, port)
  return { url: urlOf(cluster, port, NAME), pid, started, stop: () => stopServer(cluster) }
}

async function openCluster(home: string, durable: boolean): Promise<Cluster> {
  const directory = join(home, 'postgres')
  const binaries = await postgresBinaries(join(home, 'postgres-lib'))
  const account = await postgresAccount(directory, binaries)
  if (!existsSync(directory)) await createCluster(home, directory, binaries, account, durable)
  await requireVersion(directory, binaries, account)
  return { directory, binaries, account, durable, password: readPassword(directory) }
}

/** Made aside and renamed: neither two starters nor a kill half-way can leave half a cluster. */
async function createCluster(
  home: string,
  directory: string,
  binaries: PostgresBinaries,
  account: PostgresAccount,
  durable: boolean,
): Promise<void> {
  await removeAbandoned(home)
  const aside = await mkdtemp(join(home, 'postgres-new-'))
  try {
    const password = join(aside, PASSWORD_FILE)
    await writeFile(password, randomBytes(24).toString('base64url'), { mode: 0o600 })
    const data = join(aside, 'data')
    await mkdir(data, { mode: 0o700 })
    await account.give(aside)
    const form = ['-U', NAME, '--pwfile', password, '--auth=scram-sha-256', '-E', 'UTF8', '--locale=C']
    await account.run(binaries.initdb, ['-D', data, ...form, ...(durable ? [] : ['--no-sync'])])
    await rename(password, join(data, PASSWORD_FILE))
    await rename(data, directory)
  } catch (error) {
    if (!existsSync(directory)) throw startFailure('the database directory cannot be made', error, '')
  } finally {
    await rm(aside, { recursive: true, force: true })
  }
}

async function removeAbandoned(home: string): Promise<void> {
  for (const name of await readdir(home)) {
    if (!name.startsWith('postgres-new-')) continue
    const made = await stat(join(home, name)).catch(() => undefined)
    if (made !== undefined && Date.now() - made.mtimeMs > ABANDONED_AFTER_MS) {
      await rm(join(home, name), { recursive: true, force: true })
    }
  }
}

async function requireVersion(directory: string, binaries: PostgresBinaries, account: PostgresAccount): Promise<void> {
  const made = readIfPresent(join(directory, 'PG_VERSION'))?.trim() ?? 'unknown'
  const ours = /(\d+)/.exec(await account.run(binaries.postgres, ['--version']))?.[1]
  if (made === ours) return
  throw new TapestryError('DATA_VERSION', `the database was made by PostgreSQL ${made}; this build carries ${ours}`, {
    hint: 'Dump it with the build that made it and restore it into a new data directory.',
  })
}

function readPassword(directory: string): string {
  const password = readIfPresent(join(directory, PASSWORD_FILE))
  if (password !== undefined) return password
  throw new TapestryError('DATA_INVALID', 'the database directory holds no password', {
    hint: `Restore ${PASSWORD_FILE} in it from a backup.`,
  })
}

type Running = { readonly port: number; readonly pid: number; readonly started: boolean }

async function attachOrStart(cluster: Cluster): Promise<Running> {
  const until = Date.now() + START_TIMEOUT_MS
  for (let failure: unknown; ; await sleep(RETRY_MS)) {
    const lock = readPostgresLock(cluster.directory)
    if (lock !== undefined && isPostgres(lock.pid)) {
      if (await answers(cluster, lock.port)) return { ...lock, started: false }
    } else {
      const outcome = await start(cluster)
      if ('pid' in outcome) return outcome
      failure = outcome.failure
      disarmStaleLock(cluster.directory)
    }
    if (Date.now() > until) throw startFailure('the bundled PostgreSQL does not start', failure, '')
  }
}

async function start(cluster: Cluster): Promise<Running | { readonly failure: unknown }> {
  const { directory, account, binaries } = cluster
  const port = await choosePort(directory)
  const log = join(directory, LOG_FILE)
  const before = existsSync(log) ? statSync(log).size : 0
  try {
    const settings = serverSettings(port, cluster.durable)
    await account.run(binaries.pgCtl, ['-D', directory, '-w', '-t', '100', '-l', log, '-o', settings, 'start'])
  } catch (error) {
    const said = readIfPresent(log)?.slice(before) ?? ''
    const failure = startFailure('the bundled PostgreSQL does not start', error, said)
    if (failure.code === 'DISK_FULL') throw failure
    return { failure }
  }
  await writeFile(join(directory, PORT_FILE), String(port))
  const lock = readPostgresLock(directory)
  if (lock === undefined) return { failure: new Error('the server stopped at once') }
  return { ...lock, started: true }
}

function serverSettings(port: number, durable: boolean): string {
  const settings = {
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    max_connections: String(MAX_CONNECTIONS),
    // Conflicts of serializable transactions are normal here and would fill the log.
    log_min_messages: 'log',
    ...SMALL,
    ...(durable ? {} : { fsync: 'off', full_page_writes: 'off' }),
  }
  const flags = Object.entries(settings).map(([name, value]) => `-c ${name}=${value}`)
  return [`-p ${port}`, ...flags].join(' ')
}

/** The port of last time, so that processes that hold the old address find the restarted server. */
async function choosePort(directory: string): Promise<number> {
  const last = Number(readIfPresent(join(directory, PORT_FILE)))
  if (Number.isInteger(last) && last > 0 && last < 65_536 && (await listenOnce(last)) === last) return last
  const free = await listenOnce(0)
  if (free === undefined) throw new TapestryError('UNAVAILABLE', 'no free port on 127.0.0.1 for the database')
  return free
}

/** Listens for a moment: the port it got, or undefined when `port` is taken. */
function listenOnce(port: number): Promise<number | undefined> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(undefined))
    server.listen(port, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : undefined))
    })
  })
}

/** True when the server on `port` accepts our password and serves this very directory. */
async function answers(cluster: Cluster, port: number): Promise<boolean> {
  try {
    return await withClient(cluster, port, async (client) => {
      const shown = await client.query<{ data_directory: string }>('SHOW data_directory')
      return shown.rows[0]?.data_directory === cluster.directory
    })
  } catch {
    return false
  }
}

/** SQLSTATE duplicate_database, and what two simultaneous creators see of it. */
const ALREADY_THERE: ReadonlySet<string> = new Set(['42P04', '23505'])

async function createDatabase(cluster: Cluster, port: number): Promise<void> {
  await withClient(cluster, port, async (client) => {
    const found = await client.query('SELECT 1 FROM pg_database WHERE datname = $1', [NAME])
    if (found.rowCount === 0) await client.query(`CREATE DATABASE ${NAME}`)
  }).catch((error: unknown) => {
    const code = error instanceof Error && 'code' in error ? String(error.code) : ''
    if (!ALREADY_THERE.has(code)) throw startFailure('the bundled PostgreSQL does not answer', error, '')
  })
}

async function withClient<T>(cluster: Cluster, port: number, work: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: urlOf(cluster, port, 'postgres'), connectionTimeoutMillis: 5_000 })
  // Without a listener a server that dies under the connection would end this process.
  client.on('error', () => {})
  try {
    await client.connect()
    return await work(client)
  } finally {
    await client.end().catch(() => {})
  }
}

async function stopServer({ directory, account, binaries }: Cluster): Promise<void> {
  const lock = readPostgresLock(directory)
  if (lock === undefined || !isPostgres(lock.pid)) return
  try {
    await account.run(binaries.pgCtl, ['-D', directory, '-m', 'fast', '-w', '-t', '100', 'stop'])
  } catch (error) {
    if (isPostgres(lock.pid)) throw startFailure('the bundled PostgreSQL does not stop', error, '')
  }
}

function urlOf(cluster: Cluster, port: number, database: string): string {
  return `postgresql://${NAME}:${cluster.password}@127.0.0.1:${port}/${database}`
}

function startFailure(message: string, cause: unknown, log: string): TapestryError {
  const said = `${cause instanceof Error ? cause.message : ''}\n${log}`
  if (/No space left on device|ENOSPC|Check free disk space/.test(said)) {
    return new TapestryError('DISK_FULL', 'no space left for the database', {
      cause,
      hint: 'Free space on the disk of the data directory and start again.',
    })
  }
  const detail = log.trim() === '' ? cause : new Error(log.trim().slice(-2000), { cause })
  return new TapestryError('UNAVAILABLE', message, {
    cause: detail,
    hint: /Permission denied/.test(said)
      ? 'The account that runs PostgreSQL (nobody, for root) must be able to reach the data directory; or set DATABASE_URL.'
      : 'See server.log in the database directory, or set DATABASE_URL to another PostgreSQL server.',
  })
}

function readIfPresent(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}
