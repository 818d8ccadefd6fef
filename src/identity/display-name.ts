import { TapestryError } from '../core/error.ts'

/**
 * Letters, marks, numbers, punctuation, symbols and plain spaces of any script, and the two joiners that scripts such
 * as Persian and Devanagari are written with. No control, direction or line separators: names are shown in terminals.
 */
const PRINTABLE = /^[\p{L}\p{M}\p{N}\p{P}\p{S} \u200c\u200d]{1,64}$/u

/** @throws TapestryError INVALID_ARGUMENT unless `name` is 1-64 printable characters without spaces at its ends. */
export function ensureDisplayName(name: string): string {
  if (PRINTABLE.test(name) && name === name.trim()) return name
  throw new TapestryError('INVALID_ARGUMENT', 'a name has 1-64 printable characters, with no spaces at its ends')
}
