import type { Millis } from '../core/clock.ts'
import { compareText } from '../core/order.ts'

/** Whoever signed long ago has not agreed to what others sign now: three days, so that a weekend is no veto. */
export const ENDORSEMENT_WINDOW_MS = 72 * 3_600_000

/** One key's signature, and when it arrived. */
export type Endorsement = { readonly keyId: string; readonly at: Millis }

/**
 * Those endorsements that count at `now`, each key once by its newest, in order of key id: made within the window, by
 * keys that still may.
 */
export function countedEndorsements<T extends Endorsement>(
  endorsements: readonly T[],
  keys: ReadonlySet<string>,
  now: Millis,
): readonly T[] {
  const newest = new Map<string, T>()
  for (const one of endorsements) {
    if (!keys.has(one.keyId) || one.at <= now - ENDORSEMENT_WINDOW_MS) continue
    if (one.at >= (newest.get(one.keyId)?.at ?? Number.NEGATIVE_INFINITY)) newest.set(one.keyId, one)
  }
  return [...newest.values()].sort((a, b) => compareText(a.keyId, b.keyId))
}
