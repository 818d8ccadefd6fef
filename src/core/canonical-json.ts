import { TapestryError } from './error.ts'
import { compareText } from './order.ts'

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json | undefined }

/**
 * The one byte sequence for a JSON value: RFC 8785 (JSON Canonicalization Scheme). Keys are
 * ordered by UTF-16 code units, numbers in ECMAScript's shortest form, no white space.
 * Members whose value is undefined are left out.
 * @throws TapestryError INVALID_ARGUMENT for NaN, infinities and lone surrogates, which have no canonical form.
 */
export function canonicalJson(value: Json): string {
  if (value === null || typeof value === 'boolean') return String(value)
  if (typeof value === 'number') return canonicalNumber(value)
  if (typeof value === 'string') return canonicalString(value)
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`
  const members = Object.entries(value).filter((entry): entry is [string, Json] => entry[1] !== undefined)
  members.sort(([a], [b]) => compareText(a, b))
  return `{${members.map(([key, member]) => `${canonicalString(key)}:${canonicalJson(member)}`).join(',')}}`
}

/** UTF-8 bytes of {@link canonicalJson}: what is hashed and signed. */
export function canonicalBytes(value: Json): Uint8Array {
  return Buffer.from(canonicalJson(value), 'utf8')
}

function canonicalNumber(value: number): string {
  if (!Number.isFinite(value)) throw new TapestryError('INVALID_ARGUMENT', `${value} has no JSON form`)
  return JSON.stringify(value)
}

/** In unicode mode a surrogate matches only when it is not half of a pair. */
const LONE_SURROGATE = /\p{Surrogate}/u

function canonicalString(value: string): string {
  if (LONE_SURROGATE.test(value))
    throw new TapestryError('INVALID_ARGUMENT', 'a string with a lone surrogate has no JSON form')
  return JSON.stringify(value)
}
