import { parse } from 'bcp-47'
import { iso6393 } from 'iso-639-3'
import { TapestryError } from './error.ts'

declare const tagBrand: unique symbol

/**
 * A BCP-47 language tag, validated but kept verbatim: canonicalising would collapse distinct
 * languages (quz to qu, als to sq).
 */
export type LanguageTag = string & { readonly [tagBrand]: true }

const KNOWN = new Set(
  iso6393.flatMap((language) => [language.iso6393, language.iso6391].filter((code) => code !== undefined)),
)

/** @throws TapestryError INVALID_ARGUMENT for text that is not well-formed BCP-47 over an ISO 639-3 language. */
export function ensureLanguageTag(text: string): LanguageTag {
  const language = parse(text).language?.toLowerCase()
  if (!language || !KNOWN.has(language)) {
    throw new TapestryError(
      'INVALID_ARGUMENT',
      `not a language tag: "${text.slice(0, 40)}" (expected BCP-47, such as sw or pt-BR)`,
    )
  }
  return text as LanguageTag
}
