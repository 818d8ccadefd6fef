/** The values of largest magnitude and where they are: strictly ascending flat indices. */
export type Sparse = { readonly indices: Uint32Array; readonly values: Float32Array }

/** How many of `count` values are sent: the fraction of them, rounded up, so at least one where there are any. */
export function keptCount(count: number, fraction: number): number {
  return Math.min(count, Math.ceil(count * fraction))
}

/**
 * The `kept` values of largest magnitude; among equal ones those that come first. Top-k sparsification:
 * Stich et al. 2018 (arXiv:1809.07599, section 2). Linear time: magnitudes are in the order of
 * their bits, so two counting passes find the smallest that is kept.
 * @param values f32[n], finite, n at most 2^32
 */
export function largest(values: Float32Array, kept: number): Sparse {
  const magnitudes = new Uint32Array(values.buffer, values.byteOffset, values.length)
  const { least, ties } = threshold(magnitudes, kept)
  const indices = new Uint32Array(kept)
  let tied = 0
  let at = 0
  for (let j = 0; j < magnitudes.length && at < kept; j += 1) {
    const magnitude = magnitudes[j]! & 0x7fffffff
    if (magnitude > least || (magnitude === least && tied++ < ties)) indices[at++] = j
  }
  return { indices, values: Float32Array.from(indices, (index) => values[index]!) }
}

/** The dense vector of `count` elements. */
export function spread({ indices, values }: Sparse, count: number): Float32Array {
  const dense = new Float32Array(count)
  for (const [at, index] of indices.entries()) dense[index] = values[at]!
  return dense
}

/** The smallest magnitude that is among the `kept` largest, as bits, and how many of that very magnitude are. */
function threshold(words: Uint32Array, kept: number): { readonly least: number; readonly ties: number } {
  const upper = cut(
    histogram(words, (bits) => bits >>> 16),
    kept,
  )
  const inBucket = (bits: number) => (bits >>> 16 === upper.bucket ? bits & 0xffff : -1)
  const lower = cut(histogram(words, inBucket), upper.left)
  return { least: upper.bucket * 0x10000 + lower.bucket, ties: lower.left }
}

function histogram(words: Uint32Array, bucketOf: (magnitude: number) => number): Uint32Array {
  const counts = new Uint32Array(0x10000)
  for (let j = 0; j < words.length; j += 1) {
    const bucket = bucketOf(words[j]! & 0x7fffffff)
    if (bucket >= 0) counts[bucket]! += 1
  }
  return counts
}

/** The bucket, from the largest down, in which the count reaches `kept`, and how many of it are still wanted. */
function cut(counts: Uint32Array, kept: number): { readonly bucket: number; readonly left: number } {
  let left = kept
  for (let bucket = counts.length - 1; bucket > 0; bucket -= 1) {
    if (counts[bucket]! >= left) return { bucket, left }
    left -= counts[bucket]!
  }
  return { bucket: 0, left }
}
