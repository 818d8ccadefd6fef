import { encodeHeader, inNameOrder } from '../../src/model/safetensors.ts'
import { parameterSpecs } from '../../src/plan/parameters.ts'
import { TEST_PLAN } from '../rounds.ts'

const SPECS = inNameOrder(parameterSpecs(TEST_PLAN.spec))
const ELEMENTS = SPECS.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0)

/**
 * A delta that is `value` at one place, that of its node, and 0 everywhere else: in a merge, a contribution that was
 * lost shows as 0 there, and one that counted twice as 2.
 * @param label makes the file, and so its digest, differ from others with the same values.
 * @returns the bytes of a safetensors file for the test plan.
 */
export function oneHot(index: number, value: number, label: string): Uint8Array {
  const values = new Float32Array(ELEMENTS)
  values[index] = value
  return Buffer.concat([encodeHeader(SPECS, { label }), Buffer.from(values.buffer)])
}

/** The values of a weights file of the test plan, in the order of the places of {@link oneHot}. */
export function valuesOf(file: Uint8Array): Float32Array {
  const begin = file.byteLength - ELEMENTS * Float32Array.BYTES_PER_ELEMENT
  const bytes = Uint8Array.prototype.slice.call(file, begin)
  return new Float32Array(bytes.buffer)
}
