import { parseDocument } from 'yaml'
import type { z } from 'zod'
import { TapestryError } from '../core/error.ts'

/** Aliases that multiply are an attack; a file that a person writes has few or none. */
const MAX_ALIASES = 10

/**
 * Reads what a person wrote, saying where a mistake is.
 * @param path for the message
 * @throws TapestryError DATA_INVALID
 */
export function parseYaml<T>(text: string, schema: z.ZodType<T>, path: string): T {
  const document = parseDocument(text, { uniqueKeys: true, version: '1.2' })
  const [mistake] = document.errors
  if (mistake !== undefined) throw invalid(path, mistake.message.split('\n')[0] ?? 'not YAML', mistake)
  const parsed = schema.safeParse(contentsOf(document, path))
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  const where = issue?.path.map(String).join('.')
  throw invalid(path, `${where ? `${where}: ` : ''}${issue?.message ?? 'not understood'}`, parsed.error)
}

function contentsOf(document: ReturnType<typeof parseDocument>, path: string): unknown {
  try {
    return document.toJS({ maxAliasCount: MAX_ALIASES })
  } catch (cause) {
    throw invalid(path, 'too many aliases', cause)
  }
}

function invalid(path: string, problem: string, cause: unknown): TapestryError {
  return new TapestryError('DATA_INVALID', `${path}: ${problem}`, { cause })
}
