import type { Strategy } from '../gen/proto/tapestry/v1/round_pb.ts'
import { printable } from './terminal.ts'

/** A strategy as JSON; null when the coordinator is older than the choice. */
export function strategyJson(strategy: Strategy | undefined) {
  return strategy === undefined ? null : { name: strategy.name, parameters: { ...strategy.parameters } }
}

/** A strategy in one word, as `run create --strategy` takes it. */
export function strategyWord({ name, parameters }: Strategy): string {
  const pairs = Object.entries(parameters).sort(([a], [b]) => (a < b ? -1 : 1))
  const numbers = pairs.map(([parameter, value]) => `${parameter}=${value}`).join(',')
  return printable(numbers === '' ? name : `${name}:${numbers}`)
}
