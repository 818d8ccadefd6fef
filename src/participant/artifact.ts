import type { Digest } from '../core/digest.ts'
import type { Backoff } from './retry.ts'

/** Bytes by content address. `size` in bytes. */
export type Artifact = { readonly digest: Digest; readonly size: number }

export type TransferOptions = {
  readonly signal?: AbortSignal | undefined
  /** Called as bytes move, with bytes done and bytes in all. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined
  readonly backoff?: Backoff
}

/** Attempts that move nothing before a transfer is given up; one that moves a byte starts the count anew. */
export const MAX_IDLE_ATTEMPTS = 6
/** HTTPS failures in a row, none of them the coordinator's own answer, after which the gRPC stream is used. */
export const HTTPS_STRIKES = 2
/** A connection that moves nothing for this long is taken for dead. */
export const IDLE_MS = 60_000
/** One message of the gRPC streams. */
export const MESSAGE_BYTES = 2 ** 20
/** Moved between file and connection at once: TLS hands over 16 KiB at a time, and every step has its price. */
export const BLOCK_BYTES = 2 ** 20
