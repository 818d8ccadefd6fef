import { compareText } from '../core/order.ts'

/** Leaves out a third of the voices at each end, ordered by what they say the change is; nobody of fewer than three. */
export function withoutExtremes<T extends { readonly voice: string; readonly change: number }>(
  voices: readonly T[],
): readonly T[] {
  const cut = Math.floor(voices.length / 3)
  const ordered = [...voices].sort((a, b) => a.change - b.change || compareText(a.voice, b.voice))
  return ordered.slice(cut, voices.length - cut)
}
