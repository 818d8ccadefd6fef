import { setTimeout as delay } from 'node:timers/promises'
import { TapestryError } from '../core/error.ts'

/** Whoever sends or fetches takes a connection on which nothing moves for a minute for dead. */
const ANSWER_MS = 45_000
const RETRY_MS = 5_000

/**
 * What a peer waits for, if it is there soon. Otherwise the peer is told to ask again, while the work goes on.
 * @param what is on its way, for a sentence.
 * @throws TapestryError UNAVAILABLE; what `work` throws.
 */
export async function soon<T>(work: Promise<T>, what: string, withinMs = ANSWER_MS): Promise<T> {
  const done = new AbortController()
  const late = delay(withinMs, undefined, { signal: done.signal, ref: false }).then(() => {
    throw new TapestryError('UNAVAILABLE', `${what} is on its way`, {
      hint: 'Ask again in a moment.',
      retryMs: RETRY_MS,
    })
  })
  // The loser of the race has nobody who listens.
  late.catch(() => undefined)
  work.catch(() => undefined)
  return Promise.race([work, late]).finally(() => done.abort())
}
