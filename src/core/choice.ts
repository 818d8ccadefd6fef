import { z } from 'zod'
import { TapestryError } from './error.ts'

/** Something chosen by name, with numbers: a strategy, a codec. */
export type Choice = { readonly name: string; readonly parameters: Readonly<Record<string, number>> }

/** A choice of this name, with these parameters and no others. */
export function choice<Name extends string, Parameters extends z.core.$ZodLooseShape>(
  name: Name,
  parameters: Parameters,
) {
  return z.strictObject({ name: z.literal(name), parameters: z.strictObject(parameters) })
}

/** One of several things to choose from. */
export type Choices<T> = {
  /** What is chosen, for messages: `strategy`. */
  readonly what: string
  readonly schema: z.ZodType<T>
  readonly names: readonly string[]
}

/**
 * Checks a name and its parameters, and fills in what is left out.
 * @throws TapestryError INVALID_ARGUMENT naming what is unknown, missing or out of range.
 */
export function ensureChoice<T>({ what, schema, names }: Choices<T>, { name, parameters }: Choice): T {
  if (!names.includes(name)) {
    throw new TapestryError('INVALID_ARGUMENT', `there is no ${what} "${name.slice(0, 40)}"`, {
      hint: `choose one of ${names.join(', ')}`,
    })
  }
  const parsed = schema.safeParse({ name, parameters })
  if (parsed.success) return parsed.data
  const problems = parsed.error.issues.map(({ path, message }) => `${path.slice(1).join('.')} ${message}`.trim())
  const detail = `${what} ${name}: ${problems.join('; ')}`.slice(0, 400)
  throw new TapestryError('INVALID_ARGUMENT', detail, { cause: parsed.error })
}

/** A choice in one word, as the command line takes it: `krum:byzantine=1`. */
export function choiceText({ name, parameters }: Choice): string {
  const pairs = Object.entries(parameters).map(([parameter, value]) => `${parameter}=${value}`)
  return pairs.length === 0 ? name : `${name}:${pairs.join(',')}`
}

/** Reads what {@link choiceText} writes. @throws TapestryError INVALID_ARGUMENT for another form, or a parameter given twice. */
export function parseChoiceText(text: string): Choice {
  const colon = text.indexOf(':')
  if (colon < 0) return { name: text, parameters: {} }
  const pairs = text.slice(colon + 1).split(',')
  const parameters = pairs.map((pair): [string, number] => {
    const [, parameter, value] = /^(\w+)=(\d+(?:\.\d+)?(?:e[+-]?\d+)?)$/i.exec(pair) ?? []
    if (parameter === undefined || value === undefined) {
      throw new TapestryError('INVALID_ARGUMENT', `not a parameter: "${pair.slice(0, 60)}" (expected name=number)`)
    }
    return [parameter, Number(value)]
  })
  if (new Set(parameters.map(([parameter]) => parameter)).size < parameters.length) {
    throw new TapestryError('INVALID_ARGUMENT', `a parameter of ${text.slice(0, colon)} is given twice`)
  }
  return { name: text.slice(0, colon), parameters: Object.fromEntries(parameters) }
}
