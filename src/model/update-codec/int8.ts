/** Steps on either side of zero. -128 is not used: the scale is symmetric. */
export const MOST_STEPS = 127
/** Bits of a scale's f32 that are 0: it has 17 significant bits, and its product with 7 more fits the 24 of an f32. */
const FREE_BITS = 0x7f
/** The smallest normal f32. */
const LEAST_SCALE = 2 ** -126
const MOST_FLOAT = 2 ** 128 - 2 ** 104
/** The largest scale whose product with 127 is a finite f32. */
const MOST_SCALE = floatOf(bitsOf(MOST_FLOAT / MOST_STEPS) & ~FREE_BITS)

/** Values as whole steps, and the width of a step for each block of them. */
export type Quantised = { readonly scales: Float32Array; readonly steps: Int8Array }

/** Number of blocks, and so of scales, of `count` values. */
export function blockCount(count: number, block: number): number {
  return Math.ceil(count / block)
}

/**
 * Symmetric quantisation by the largest magnitude of each block: scale = max|x| / 127, step = x / scale
 * to the nearest whole number, ties to even; the value is scale times step. Dettmers et al. 2022
 * (arXiv:2110.02861, section 2) quantise by blocks too, so that one large value coarsens only its own.
 *
 * A scale is rounded up to 17 significant bits. Then no step exceeds 127, every product is an f32
 * without rounding, and quantising what was decoded gives the same bytes. The error is at most half
 * a scale: max|x| / 254 within 2^-16. Blocks below 127 x 2^-126 count as zeros.
 * @param values f32[n], finite
 */
export function quantise(values: Float32Array, block: number): Quantised {
  const scales = new Float32Array(blockCount(values.length, block))
  const steps = new Int8Array(values.length)
  for (const index of scales.keys()) {
    const end = Math.min(values.length, (index + 1) * block)
    const scale = scaleOf(values, index * block, end)
    scales[index] = scale
    if (scale === 0) continue
    for (let j = index * block; j < end; j += 1) {
      steps[j] = Math.max(-MOST_STEPS, Math.min(MOST_STEPS, roundToEven(values[j]! / scale)))
    }
  }
  return { scales, steps }
}

/** The values of steps: f32[n], exact. */
export function dequantise({ scales, steps }: Quantised, block: number): Float32Array {
  return Float32Array.from(steps, (step, j) => step * scales[Math.floor(j / block)]!)
}

/** Whether {@link quantise} can have made this scale: 0, or normal with 17 significant bits and finite products. */
export function isScale(scale: number): boolean {
  if (Object.is(scale, 0)) return true
  return scale >= LEAST_SCALE && scale <= MOST_SCALE && (bitsOf(scale) & FREE_BITS) === 0
}

function scaleOf(values: Float32Array, begin: number, end: number): number {
  let most = 0
  for (let j = begin; j < end; j += 1) most = Math.max(most, Math.abs(values[j]!))
  const least = most / MOST_STEPS
  if (least < LEAST_SCALE) return 0
  // Positive floats are in the order of their bits.
  const bits = bitsOf(least)
  const cut = bits & ~FREE_BITS
  const scale = floatOf(floatOf(cut) >= least ? cut : cut + FREE_BITS + 1)
  return Math.min(scale, MOST_SCALE)
}

/** Adding and taking away 1.5 x 2^52 leaves a double rounded to a whole number, ties to even. */
function roundToEven(value: number): number {
  return value + 6_755_399_441_055_744 - 6_755_399_441_055_744
}

function bitsOf(value: number): number {
  return new Uint32Array(Float32Array.of(value).buffer)[0]!
}

function floatOf(bits: number): number {
  return new Float32Array(Uint32Array.of(bits).buffer)[0]!
}
