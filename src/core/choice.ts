import { TapestryError } from './error.ts'

/** Something chosen by name, with numbers: a strategy, a codec. */
export type Choice = { readonly name: string; readonly parameters: Readonly<Record<string, number>> }

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
