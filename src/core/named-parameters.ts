import type { z } from 'zod'
import { TapestryError } from './error.ts'

/** A method with its numbers, such as a strategy: `krum:byzantine=1`. */
export type Named = { readonly name: string; readonly parameters: Readonly<Record<string, number>> }

/**
 * Checks a name and its parameters, and fills in what is left out.
 * @param kind what it is called in messages
 * @throws TapestryError INVALID_ARGUMENT naming what is unknown, missing or out of range
 */
export function ensureNamed<T extends Named>(
  kind: string,
  schema: z.ZodType<T>,
  names: readonly string[],
  { name, parameters }: Named,
): T {
  if (!names.includes(name)) {
    throw new TapestryError('INVALID_ARGUMENT', `there is no ${kind} "${name.slice(0, 40)}"`, {
      hint: `choose one of ${names.join(', ')}`,
    })
  }
  const parsed = schema.safeParse({ name, parameters })
  if (parsed.success) return parsed.data
  const problems = parsed.error.issues.map(({ path, message }) => `${path.slice(1).join('.')} ${message}`.trim())
  const detail = `${kind} ${name}: ${problems.join('; ')}`.slice(0, 400)
  throw new TapestryError('INVALID_ARGUMENT', detail, { cause: parsed.error })
}

/** In one word, as the command line takes it: `krum:byzantine=1`. */
export function namedText({ name, parameters }: Named): string {
  const pairs = Object.entries(parameters).map(([parameter, value]) => `${parameter}=${value}`)
  return pairs.length === 0 ? name : `${name}:${pairs.join(',')}`
}

/** Reads what {@link namedText} writes; checks its form alone. @throws TapestryError INVALID_ARGUMENT */
export function parseNamedText(text: string): Named {
  const colon = text.indexOf(':')
  if (colon < 0) return { name: text, parameters: {} }
  return { name: text.slice(0, colon), parameters: parseNumbers(text.slice(colon + 1)) }
}

/** Reads `name=number,...`, each name once. @throws TapestryError INVALID_ARGUMENT */
export function parseNumbers(text: string): Record<string, number> {
  const numbers = text.split(',').map((pair): [string, number] => {
    const [, parameter, value] = /^(\w+)=(\d+(?:\.\d+)?(?:e[+-]?\d+)?)$/i.exec(pair) ?? []
    if (parameter === undefined || value === undefined) {
      throw new TapestryError('INVALID_ARGUMENT', `not a parameter: "${pair.slice(0, 60)}" (expected name=number)`)
    }
    return [parameter, Number(value)]
  })
  if (new Set(numbers.map(([parameter]) => parameter)).size < numbers.length) {
    throw new TapestryError('INVALID_ARGUMENT', 'a parameter is given twice')
  }
  return Object.fromEntries(numbers)
}
