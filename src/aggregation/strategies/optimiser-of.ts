import type { Strategy } from '../../core/strategy.ts'
import {
  fedAdagrad,
  fedAdam,
  fedYogi,
  heavyBall,
  nesterov,
  type OptimiserState,
  type ServerOptimiser,
} from './server-optimiser.ts'

/** A vector of the model's size that an optimiser remembers. */
export type StateVector = keyof OptimiserState

/** What the model does with the merged delta; undefined when it simply moves by it. */
export function optimiserOf(strategy: Strategy): ServerOptimiser | undefined {
  switch (strategy.name) {
    case 'fedavgm':
      return heavyBall(strategy.parameters.rate, strategy.parameters.beta)
    case 'diloco':
      return nesterov(strategy.parameters.rate, strategy.parameters.beta)
    case 'fedadam':
      return fedAdam(strategy.parameters)
    case 'fedyogi':
      return fedYogi(strategy.parameters)
    case 'fedadagrad':
      return fedAdagrad({ ...strategy.parameters, beta2: 0 })
    default:
      return undefined
  }
}

/** What a strategy remembers from one merge to the next, in alphabetical order: the order of its file. */
export function stateVectorsOf({ name }: Strategy): readonly StateVector[] {
  switch (name) {
    case 'fedavgm':
    case 'diloco':
      return ['momentum']
    case 'fedadam':
    case 'fedyogi':
    case 'fedadagrad':
      return ['momentum', 'variance']
    default:
      return []
  }
}
