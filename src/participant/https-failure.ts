import { type ErrorCode, TapestryError } from '../core/error.ts'
import { codeFromAfar, delayOf, printable } from './rpc-error.ts'

/** An answer that is not the coordinator's own: a proxy's, or a cut connection. Another way may still be open. */
export class HttpsFailure extends Error {
  override readonly name = 'HttpsFailure'
}

/** A problem document (RFC 9457) is a few hundred bytes. */
const MOST_PROBLEM_BYTES = 64 * 1024

/** What a refusal of ours that is not an error code means to the sender. */
const CODE_OF_REASON: ReadonlyMap<string, ErrorCode> = new Map([
  ['DIGEST_MISMATCH', 'VERIFICATION_FAILED'],
  ['TRUNCATED', 'UNAVAILABLE'],
])

export function httpsFailure(cause: unknown): HttpsFailure {
  return new HttpsFailure(cause instanceof Error ? cause.message : 'the connection broke', { cause })
}

/**
 * Turns a refusal into our error.
 * @returns HttpsFailure when it carries no code of ours, so that the coordinator cannot have written it.
 */
export function refusalOf(status: number | undefined, text: string, retryAfter?: string): Error {
  const problem = parseProblem(text)
  const code = problem.code === undefined ? undefined : codeOf(problem.code)
  if (code === undefined) return new HttpsFailure(`answered with status ${status}`)
  const retryMs = delayOf(1000 * Number(retryAfter))
  const detail = printable(problem.detail ?? problem.title ?? `status ${status}`)
  const requestId = problem.requestId && printable(problem.requestId)
  return new TapestryError(code, detail, { ...(retryMs !== undefined && { retryMs }), ...(requestId && { requestId }) })
}

function codeOf(text: string): ErrorCode | undefined {
  return codeFromAfar(text) ?? CODE_OF_REASON.get(text)
}

type Problem = { readonly [key in 'code' | 'detail' | 'title' | 'requestId']?: string }

function parseProblem(text: string): Problem {
  try {
    const json: unknown = JSON.parse(text)
    if (typeof json !== 'object' || json === null) return {}
    const members = ['code', 'detail', 'title', 'requestId'] as const
    return Object.assign({}, ...members.map((key) => member(json, key)))
  } catch {
    return {}
  }
}

function member<K extends keyof Problem>(json: object, key: K): Problem {
  const entry = Object.entries(json).find(([name]) => name === key)
  return typeof entry?.[1] === 'string' ? { [key]: entry[1] } : {}
}

/** The body as text, cut at a limit; what had arrived when the connection broke. */
export async function readText(response: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = []
  let size = 0
  try {
    for await (const chunk of response) {
      chunks.push(chunk.slice())
      size += chunk.length
      if (size > MOST_PROBLEM_BYTES) break
    }
  } catch {
    // A cut refusal is read as far as it came.
  }
  return Buffer.concat(chunks).toString('utf8')
}
