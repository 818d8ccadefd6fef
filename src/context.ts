import type { KeyObject } from 'node:crypto'
import type { Logger } from 'pino'
import type { ServerConfig } from './config.ts'
import type { Clock } from './core/clock.ts'
import type { FederationId } from './core/ids.ts'
import type { BlobStore } from './store/blob-store.ts'
import type { Store } from './store/store.ts'

/** The few handles that the coordinator's rooms share. Secrets are not among them: they go to whoever signs. */
export type Context = {
  readonly config: ServerConfig
  /** Of this program. */
  readonly version: string
  readonly federation: FederationId
  readonly store: Store
  readonly blobs: BlobStore
  /** Free bytes where the blobs are kept. */
  readonly freeBytes: () => Promise<number>
  readonly clock: Clock
  readonly log: Logger
}

/** What signs releases: given to the decide job alone. */
export type ReleaseSigner = { readonly key: KeyObject }
