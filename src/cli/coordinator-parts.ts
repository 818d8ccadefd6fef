import { createPublicKey } from 'node:crypto'
import type { Logger } from 'pino'
import { type ServerConfig, serverConfig } from '../config.ts'
import type { Context } from '../context.ts'
import type { Clock, Millis } from '../core/clock.ts'
import { digestOf } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import { keyIdOf, privateKeyFromPem } from '../core/signature.ts'
import { type LogSigner, logSigner } from '../ledger/log-record.ts'
import { verifierText } from '../ledger/note.ts'
import { startEmbeddedPostgres } from '../store/embedded-postgres.ts'
import { migrate } from '../store/migrate.ts'
import { openStore } from '../store/prisma-store.ts'
import { ensureStorageOf, openStorage, type Storage } from '../store/storage.ts'
import type { Store, Tx } from '../store/store.ts'
import {
  type CoordinatorPaths,
  type CoordinatorSecrets,
  openCoordinatorDirectory,
  type StoredFederation,
} from './coordinator-directory.ts'
import { version } from './version.ts'

/** What the processes of one coordinator have in common: serving, and working. */
export type CoordinatorParts = {
  readonly context: Context
  readonly storage: Storage
  readonly paths: CoordinatorPaths
  readonly secrets: CoordinatorSecrets
  /** Signs the checkpoints of the log. */
  readonly logSigner: LogSigner
  /** Connection string with its password: never logged. */
  readonly databaseUrl: string
  /** Stops the embedded Postgres; does nothing for an external one. */
  stopDatabase(): Promise<void>
  /** Closes what was opened here after a failed start; a database that ran before goes on for whoever runs it. */
  abandon(): Promise<void>
}

export type CoordinatorOptions = {
  readonly dir: string
  /** Settings from the command line. */
  readonly flags: Readonly<Record<string, unknown>>
  /** Settings from a file that the user named: stronger than the directory's own. */
  readonly file?: Readonly<Record<string, unknown>>
  readonly env: Readonly<Record<string, string | undefined>>
  readonly clock: Clock
  readonly log: Logger
}

/**
 * Opens directory, database and blobs of a coordinator, applying migrations.
 * @throws TapestryError NOT_FOUND, DATA_VERSION, DATA_INVALID for blobs that are not the database's, WRONG_FEDERATION, UNAUTHENTICATED,
 *   UNAVAILABLE, INVALID_ARGUMENT, FAILED_PRECONDITION for a storage that cannot be used.
 */
export async function openCoordinator(options: CoordinatorOptions): Promise<CoordinatorParts> {
  const { paths, secrets, federation, file } = await openCoordinatorDirectory(options.dir)
  const config = serverConfig({ flags: options.flags, env: options.env, file: { ...file, ...options.file } })
  const database = await openDatabase(config, paths)
  let store: Store | undefined
  const abandon = async () => {
    await store?.close()
    if (database.started) await database.stop()
  }
  try {
    await migrate(database.url)
    store = await openStore({ url: database.url })
    const signer = signerOf(federation, secrets)
    await claimDatabase(store, federation, signer, options.clock.now())
    const storage = await openStorage(config.storage, paths)
    const { blobs, freeBytes } = storage
    await ensureStorageOf(store.reader, blobs)
    const { clock, log } = options
    const own = { config, version: version(), federation: federation.id }
    const context: Context = { ...own, store, blobs, freeBytes, clock, log }
    return {
      context,
      storage,
      paths,
      secrets,
      logSigner: signer,
      databaseUrl: database.url,
      stopDatabase: database.stop,
      abandon,
    }
  } catch (error) {
    await abandon().catch(() => undefined)
    throw error
  }
}

/** The database that the settings name, or the embedded one, which `started` says whether this call has started. */
export async function openDatabase(config: Pick<ServerConfig, 'databaseUrl'>, paths: CoordinatorPaths) {
  if (config.databaseUrl !== undefined) return { url: config.databaseUrl, started: false, stop: async () => {} }
  return startEmbeddedPostgres(paths.postgres)
}

/** A database belongs to one federation for ever: two must never mix their rounds. */
async function claimDatabase(
  store: Store,
  federation: StoredFederation,
  signer: LogSigner,
  now: Millis,
): Promise<void> {
  await store.transact('claim-database', async (tx) => {
    const found = await tx.federation()
    if (found === undefined) await tx.createFederation(federation)
    if (found === undefined || found.id === federation.id) {
      return openLog(tx, federation, signer, found === undefined ? 'federation-created' : 'log-opened', now)
    }
    throw new TapestryError('WRONG_FEDERATION', `the database belongs to federation ${found.id}`, {
      hint: `this directory is ${federation.id}: give it a database of its own`,
    })
  })
}

/** The first entry says whose log it is and which key signs it. */
async function openLog(
  tx: Tx,
  { id, record }: StoredFederation,
  signer: LogSigner,
  type: 'federation-created' | 'log-opened',
  now: Millis,
): Promise<void> {
  const key = createPublicKey(signer.key)
  if (!(await tx.bindLedgerKey(keyIdOf(key)))) return
  const log = verifierText({ name: signer.name, key })
  await tx.appendToLedger({ type, federation: id, record: digestOf(record), log }, now)
}

function signerOf({ id }: StoredFederation, { logKey, authority }: CoordinatorSecrets): LogSigner {
  return logSigner(id, privateKeyFromPem(logKey), privateKeyFromPem(authority.key))
}
