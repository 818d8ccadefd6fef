import { TapestryError } from '../core/error.ts'
import { printableText } from '../model/parsing.ts'

const REASON = printableText(200).min(1)

/** Why an operator bars a node or lets it in: for ever and for everybody to read. @throws TapestryError INVALID_ARGUMENT */
export function ensureReason(text: string): string {
  const parsed = REASON.safeParse(text.trim())
  if (parsed.success) return parsed.data
  throw new TapestryError('INVALID_ARGUMENT', 'a reason is one line of 1 to 200 characters')
}
