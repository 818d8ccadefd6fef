import { initialValues, parameterSpecs } from '../src/plan/parameters.ts'
import type { PlanSpec } from '../src/plan/spec.ts'

/** Everything that a small plan starts from, in memory. */
export function initialParameters(spec: PlanSpec): Map<string, Float32Array> {
  const whole = (pieces: Iterable<Float32Array>) => Float32Array.from([...pieces].flatMap((piece) => [...piece]))
  return new Map(
    parameterSpecs(spec).map((parameter) => {
      const copies = Array.from(initialValues(parameter, spec.seed), (piece) => piece.slice())
      return [parameter.name, whole(copies)]
    }),
  )
}
