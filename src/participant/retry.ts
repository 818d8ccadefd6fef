import { setTimeout as sleep } from 'node:timers/promises'
import { TapestryError } from '../core/error.ts'

/** How long to wait before trying again. All times in milliseconds. */
export type Backoff = {
  /** Longest first wait; each further one may be twice as long. */
  readonly baseMs: number
  readonly capMs: number
  /** Uniform in [0, 1). */
  readonly random: () => number
}

export const DEFAULT_BACKOFF: Backoff = { baseMs: 200, capMs: 5_000, random: Math.random }

/**
 * Full jitter: uniform between nothing and the doubled, capped base, so that nodes cut off together do not come back
 * together (M. Brooker, Exponential Backoff And Jitter, 2015).
 * @param attempt counts from 0.
 */
export function backoffMs(attempt: number, { baseMs, capMs, random }: Backoff): number {
  return Math.floor(random() * Math.min(capMs, baseMs * 2 ** Math.min(attempt, 30)))
}

/** Waits. @throws the signal's reason when it is aborted. */
export async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  signal?.throwIfAborted()
  try {
    await sleep(ms, undefined, signal === undefined ? {} : { signal })
  } catch (error) {
    signal?.throwIfAborted()
    throw error
  }
}

/**
 * How long to wait after a failure: as long as the other side asked for and up to half as long again, so that those
 * it held off together do not come back together; else as {@link backoffMs} says.
 */
export function waitAfter(error: unknown, attempt: number, backoff: Backoff): number {
  const asked = asksFor(error)
  return asked === 0 ? backoffMs(attempt, backoff) : Math.ceil(asked * (1 + backoff.random() / 2))
}

function asksFor(error: unknown): number {
  return (error instanceof TapestryError && error.retryMs) || 0
}

/** True for failures that time may mend: those of a connection, and a coordinator's that says when to come again. */
export function isPassing(error: unknown): boolean {
  if (!(error instanceof TapestryError)) return false
  return error.code === 'UNAVAILABLE' || error.code === 'DEADLINE_EXCEEDED' || error.retryMs !== undefined
}

/**
 * Repeats `action` while its failures are passing ones, at most `attempts` times. A delay beyond the cap is the
 * caller's to wait: nobody sits before a silent call for it.
 * The action has to be one that may run twice.
 */
export async function retrying<T>(
  action: () => Promise<T>,
  options: { readonly attempts: number; readonly backoff: Backoff; readonly signal?: AbortSignal | undefined },
): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await action()
    } catch (error) {
      options.signal?.throwIfAborted()
      if (!isPassing(error) || attempt + 1 >= options.attempts || asksFor(error) > options.backoff.capMs) throw error
      await pause(waitAfter(error, attempt, options.backoff), options.signal)
    }
  }
}
