/** The largest finite bfloat16. */
const MOST = 0x7f7f

/**
 * Rounds to bfloat16, the upper half of an f32: to nearest, ties to even (IEEE 754-2019, section
 * 4.3.1); Kalamkar et al. 2019 (arXiv:1905.12322) train in it. For normal values the error is at most
 * 2^-8 of the value. A finite value stays finite: those beyond the largest bfloat16 become it.
 * @param values f32[n], finite @returns u16[n]
 */
export function toBf16(values: Float32Array): Uint16Array {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length)
  const narrow = new Uint16Array(values.length)
  for (let j = 0; j < narrow.length; j += 1) {
    const bits = words[j]!
    const magnitude = bits & 0x7fffffff
    const rounded = (magnitude + 0x7fff + ((bits >>> 16) & 1)) >>> 16
    narrow[j] = ((bits >>> 16) & 0x8000) | Math.min(rounded, MOST)
  }
  return narrow
}

/** The values of bfloat16 numbers: f32[n], exact. */
export function fromBf16(narrow: Uint16Array): Float32Array {
  const values = new Float32Array(narrow.length)
  const words = new Uint32Array(values.buffer)
  for (let j = 0; j < narrow.length; j += 1) words[j] = narrow[j]! << 16
  return values
}
