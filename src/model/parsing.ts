import { z } from 'zod'
import { canonicalBytes, type Json } from '../core/canonical-json.ts'
import { ensureDigest } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'

/** A schema for text that one of the `ensure...` functions turns into a branded type. */
export function branded<T extends string>(ensure: (text: string) => T) {
  return z.string().transform((text, context): T => {
    try {
      return ensure(text)
    } catch (cause) {
      context.addIssue({ code: 'custom', message: cause instanceof Error ? cause.message : 'not valid' })
      return z.NEVER
    }
  })
}

export const digestSchema = branded(ensureDigest)

/** No line breaks, no control characters, nothing that reorders the text around it; joiners are needed by some scripts. */
const PRINTABLE = /^[^\p{Cc}\p{Cs}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]*$/u

/** One line that can be shown as it came. */
export function printableText(longest: number) {
  return z.string().max(longest).regex(PRINTABLE)
}

/** A detached signature; the base64 must be the one that encoding gives, so that no byte of it is free. */
export const signatureSchema = z.strictObject({
  keyId: z.string().regex(/^[0-9a-f]{64}$/),
  value: z
    .string()
    .max(200)
    .refine((text) => text !== '' && Buffer.from(text, 'base64').toString('base64') === text, 'not base64'),
})

/**
 * Parses bytes that must be the canonical JSON of a value of this schema: no other bytes stand
 * for the value, so whatever is signed or hashed is exactly what was read.
 * @param name what is being read, for the message
 * @throws TapestryError VERIFICATION_FAILED
 */
export function parseCanonical<T extends Json>(bytes: Uint8Array, schema: z.ZodType<T>, name: string): T {
  const parsed = parseWith(bytes, schema, name)
  if (!isCanonical(parsed, bytes)) {
    throw new TapestryError('VERIFICATION_FAILED', `${name} is not in canonical form`)
  }
  return parsed
}

/** Parses JSON in any form, for bytes that somebody else's signature or digest already fixes. @throws TapestryError VERIFICATION_FAILED */
export function parseWith<T>(bytes: Uint8Array, schema: z.ZodType<T>, name: string): T {
  const parsed = schema.safeParse(parseJson(bytes, name))
  if (!parsed.success) throw invalid(name, parsed.error)
  return parsed.data
}

function isCanonical(value: Json, bytes: Uint8Array): boolean {
  try {
    return Buffer.from(canonicalBytes(value)).equals(bytes)
  } catch {
    // A value without a canonical form: an escaped lone surrogate passes JSON.parse.
    return false
  }
}

function parseJson(bytes: Uint8Array, name: string): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes))
  } catch (cause) {
    throw new TapestryError('VERIFICATION_FAILED', `${name} is not UTF-8 JSON`, { cause })
  }
}

function invalid(name: string, error: z.ZodError): TapestryError {
  const [issue] = error.issues
  const where = issue && issue.path.length > 0 ? ` at ${issue.path.join('.').slice(0, 120)}` : ''
  const detail = `${name} is not valid${where}: ${issue?.message ?? 'unknown'}`.slice(0, 400)
  return new TapestryError('VERIFICATION_FAILED', detail, { cause: error })
}
