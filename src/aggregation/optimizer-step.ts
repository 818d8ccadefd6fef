import { TapestryError } from '../core/error.ts'
import { ELEMENT_BYTES } from './merge-layout.ts'
import type { OptimizerTask } from './merge-task.ts'
import { optimiserOf, type StateVector, stateVectorsOf } from './strategies/optimiser-of.ts'
import { NO_STATE, type OptimiserState, type ServerOptimiser } from './strategies/server-optimiser.ts'
import { Target } from './target.ts'
import type { TensorReader } from './tensor-reader.ts'

/**
 * The server's optimizer over stretches of a model. Its rules are element by element, so a stretch
 * at a time gives what the whole vectors would: strategies/server-optimiser.ts is the arithmetic.
 */
export class OptimizerStep {
  readonly #optimise: ServerOptimiser
  readonly #vectors: readonly StateVector[]
  readonly #targets: readonly Target[]
  readonly #reader: TensorReader
  readonly #firstFile: number | undefined

  /** @param firstFile number of the reader's file with the first vector of the last state */
  constructor(task: OptimizerTask, elements: number, reader: TensorReader, firstFile: number) {
    const optimise = optimiserOf(task.strategy)
    if (optimise === undefined) throw new TapestryError('INTERNAL', `${task.strategy.name} has no optimizer`)
    this.#optimise = optimise
    this.#vectors = stateVectorsOf(task.strategy)
    const { path, dataBegin } = task
    this.#targets = this.#vectors.map(
      (_, i) => new Target([{ path, first: 0, position: dataBegin + i * elements * ELEMENT_BYTES }]),
    )
    this.#reader = reader
    this.#firstFile = task.before.length === 0 ? undefined : firstFile
  }

  /**
   * Replaces the merged delta of a stretch, rounded to f32, by the change of the model; keeps the state.
   * @throws TapestryError DATA_INVALID when the state is no longer finite: it would stay so for ever
   */
  apply(first: number, delta: Float64Array): void {
    const { delta: step, state } = this.#optimise(new Float32Array(delta), this.#before(first, delta.length))
    for (const [i, vector] of this.#vectors.entries()) {
      const values = state[vector]
      if (!values.every(Number.isFinite)) {
        throw new TapestryError('DATA_INVALID', `the optimizer's ${vector} is no longer finite`)
      }
      this.#targets[i]?.write(first, new Uint8Array(values.buffer, values.byteOffset, values.byteLength))
    }
    delta.set(step)
  }

  #before(first: number, count: number): OptimiserState {
    const from = this.#firstFile
    if (from === undefined) return NO_STATE
    const read = this.#vectors.map((vector, i): [StateVector, Float32Array] => {
      const values = new Float32Array(count)
      this.#reader.read(from + i, first, new Uint8Array(values.buffer))
      return [vector, values]
    })
    return { ...NO_STATE, ...Object.fromEntries(read) }
  }

  close(): void {
    for (const target of this.#targets) target.close()
  }
}
