import { accept, reject, type Verdict } from '../core/rejection.ts'
import { quoted } from './header-text.ts'
import type { TensorSpec } from './tensor.ts'

/** Tensors by name, of a header or of anything that knows them. */
type Tensors = { readonly tensors: ReadonlyMap<string, TensorSpec> }

/**
 * Checks that a file holds exactly the expected tensors.
 * @returns rejection MISSING_TENSOR, EXTRA_TENSOR, DTYPE_MISMATCH or SHAPE_MISMATCH, naming the first such tensor
 */
export function checkTensors(header: Tensors, expected: readonly TensorSpec[]): Verdict<void> {
  for (const spec of expected) {
    const verdict = checkTensor(header, spec)
    if (!verdict.ok) return verdict
  }
  const known = new Set(expected.map(({ name }) => name))
  for (const name of header.tensors.keys()) {
    if (!known.has(name)) return reject('EXTRA_TENSOR', `the tensor ${quoted(name)} is not part of this model`)
  }
  return accept(undefined)
}

function checkTensor(header: Tensors, { name, dtype, shape }: TensorSpec): Verdict<void> {
  const found = header.tensors.get(name)
  if (found === undefined) return reject('MISSING_TENSOR', `the tensor ${quoted(name)} is missing`)
  if (found.dtype !== dtype) {
    return reject('DTYPE_MISMATCH', `the tensor ${quoted(name)} is ${found.dtype}, expected ${dtype}`)
  }
  if (found.shape.length !== shape.length || found.shape.some((size, axis) => size !== shape[axis])) {
    const sizes = found.shape.slice(0, 8).join(', ')
    return reject('SHAPE_MISMATCH', `the tensor ${quoted(name)} is [${sizes}], expected [${shape.join(', ')}]`)
  }
  return accept(undefined)
}
