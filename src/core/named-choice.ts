import { TapestryError } from './error.ts'

/** A choice of a run: a name and numbers. */
export type NamedChoice = { readonly name: string; readonly parameters: Readonly<Record<string, number>> }

/** The choice in one word, as the command line takes it: `krum:byzantine=1`. */
export function choiceText({ name, parameters }: NamedChoice): string {
  const pairs = Object.entries(parameters).map(([parameter, value]) => `${parameter}=${value}`)
  return pairs.length === 0 ? name : `${name}:${pairs.join(',')}`
}

/** Reads what {@link choiceText} writes; parameters may be left out. @throws TapestryError INVALID_ARGUMENT */
export function parseChoiceText(text: string): NamedChoice {
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
