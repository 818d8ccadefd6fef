import { compareText } from '../core/order.ts'
import type { Codec, Strategy } from '../gen/proto/tapestry/v1/round_pb.ts'
import { printable } from './terminal.ts'

/** A strategy or a codec as JSON; null when the coordinator is older than the choice. */
export function choiceJson(choice: Strategy | Codec | undefined) {
  return choice === undefined ? null : { name: choice.name, parameters: { ...choice.parameters } }
}

/** A strategy or a codec in one word, as `run create` takes it. */
export function choiceWord({ name, parameters }: Strategy | Codec): string {
  const pairs = Object.entries(parameters).sort(([a], [b]) => compareText(a, b))
  const numbers = pairs.map(([parameter, value]) => `${parameter}=${value}`).join(',')
  return printable(numbers === '' ? name : `${name}:${numbers}`)
}
