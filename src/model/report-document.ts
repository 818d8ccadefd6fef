import { z } from 'zod'
import { canonicalBytes, type Json } from '../core/canonical-json.ts'
import { TapestryError } from '../core/error.ts'
import { ensureFederationId, ensureNodeId, ensureRunId } from '../core/ids.ts'
import { ensureLanguageTag, type LanguageTag } from '../core/language-tag.ts'
import { compareText } from '../core/order.ts'
import { accept, type Rejection, reject, type Verdict } from '../core/rejection.ts'
import { branded, digestSchema, printableText } from './parsing.ts'

/** The largest document that a node may sign: 10,000 languages is far beyond any node, and parsing stays cheap. */
export const MAX_DOCUMENT_BYTES = 1024 * 1024
/** Most language entries of one document. */
export const MAX_LANGUAGES = 10_000
/** A uniform guess over the largest vocabulary costs under 20 nats; beyond this a number is noise or an attack. */
const MAX_LOSS = 10_000
/** More tokens or documents than humanity has written. */
const MAX_COUNT = 1e15
/** Labels, not essays. */
const MAX_COMMUNITY = 128

/** Mean loss over held-out text. */
export type Score = {
  /** Mean negative log-likelihood, nats per token. */
  readonly mean: number
  /** Standard error of the mean over sequences, nats per token. */
  readonly standardError: number
  /** Tokens scored. */
  readonly tokens: number
}

/** One language of one community: a document holds each pair at most once. */
export type LanguageKey = {
  readonly language: LanguageTag
  /** Empty when none is declared. */
  readonly community: string
}

const count = z.number().int().min(0).max(MAX_COUNT)

export const countSchema = count

export const scoreSchema = z.strictObject({
  mean: z.number().min(0).max(MAX_LOSS),
  standardError: z.number().min(0).max(MAX_LOSS),
  tokens: count.min(1),
})

export const languageKeyFields = {
  language: branded(ensureLanguageTag),
  community: printableText(MAX_COMMUNITY),
}

/** What every signed report of a node says about where it belongs. */
export const placeFields = {
  federation: branded(ensureFederationId),
  run: branded(ensureRunId),
  round: z.number().int().min(1).max(0x7fffffff),
  node: branded(ensureNodeId),
  baseDigest: digestSchema,
}

/**
 * Reads the canonical JSON of a signed document.
 * @returns rejection MALFORMED for bytes that are not the canonical encoding of such a document, INVALID_REPORT for
 *   numbers, tags or pairs under `languages` or `records` that cannot be true.
 */
export function parseDocument<
  T extends { readonly languages: readonly LanguageKey[] } & { [K in keyof T]: Json | undefined },
>(bytes: Uint8Array, schema: z.ZodType<T>): Verdict<T> {
  if (bytes.byteLength > MAX_DOCUMENT_BYTES) {
    return reject('MALFORMED', `the document has ${bytes.byteLength} bytes; at most ${MAX_DOCUMENT_BYTES} are read`)
  }
  const result = schema.safeParse(parseJson(bytes))
  if (!result.success) return { ok: false, rejection: rejectionOf(result.error) }
  const pair = repeatedPair(result.data.languages)
  if (pair !== undefined) return reject('INVALID_REPORT', `${pair} is reported twice`)
  if (!Buffer.from(bytes).equals(canonicalBytes(result.data))) {
    return reject('MALFORMED', 'the document is not in canonical form (RFC 8785)')
  }
  return accept(result.data)
}

/**
 * Encodes a document for signing, its languages in order of tag and community.
 * @throws TapestryError INVALID_ARGUMENT when a coordinator would refuse it.
 */
export function encodeDocument<
  T extends { readonly languages: readonly LanguageKey[] } & { [K in keyof T]: Json | undefined },
>(document: T, parse: (bytes: Uint8Array) => Verdict<T>): Uint8Array {
  const languages = [...document.languages].sort((a, b) => compareText(pairOf(a), pairOf(b)))
  const bytes = canonicalBytes({ ...document, languages } satisfies Json)
  const verdict = parse(bytes)
  if (!verdict.ok) throw new TapestryError('INVALID_ARGUMENT', verdict.rejection.detail)
  return bytes
}

/** Undefined, which no schema accepts, for bytes that are not UTF-8 or not JSON. */
function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes))
  } catch {
    return undefined
  }
}

function rejectionOf(error: z.ZodError): Rejection {
  const issue = error.issues[0]
  const path = issue?.path.map(String).join('.') ?? ''
  const reason = issue?.path[0] === 'languages' || issue?.path[0] === 'records' ? 'INVALID_REPORT' : 'MALFORMED'
  return {
    reason,
    detail: `${path === '' ? 'the document' : path}: ${issue?.message ?? 'not understood'}`.slice(0, 300),
  }
}

/** Tags differ in case without differing in meaning (BCP 47, section 2.1.1): sw and SW are one language. */
function pairOf({ language, community }: LanguageKey): string {
  return `${language.toLowerCase()} ${community}`
}

function repeatedPair(languages: readonly LanguageKey[]): string | undefined {
  const seen = new Set<string>()
  for (const entry of languages) {
    const pair = pairOf(entry)
    if (seen.has(pair)) return pair.trim()
    seen.add(pair)
  }
  return undefined
}
