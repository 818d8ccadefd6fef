import { fillVector, type Pass, readVectors, type VectorFile } from './vector-file.ts'

/** The magnitude of an f32 is ordered as its bits without the sign; they are counted by their upper and lower half. */
const MAGNITUDE = 0x7fffffff
const HALF_BITS = 16
const UPPER_BINS = 2 ** 15
const LOWER_BINS = 2 ** HALF_BITS

/** Elements above `least` stay, and the first `equal` of those that have it. */
type Threshold = { readonly least: number; readonly equal: number }

/**
 * Sets all but the largest ceil(density * n) elements of a vector to 0, in place: the first step of TIES (Yadav et
 * al. 2023, arXiv:2306.01708, section 3). The selection is exact: where elements of the same magnitude compete, the
 * first in the order of the model stay. Two passes count, a third writes; memory does not depend on n.
 * @throws TapestryError DATA_INVALID, DISK_FULL; the signal's reason
 */
export async function trimVector(vector: VectorFile, density: number, pass: Pass): Promise<void> {
  const keep = Math.ceil(density * vector.elements)
  if (keep >= vector.elements) return
  const { least, equal } = await findThreshold(vector, keep, pass)
  let left = equal
  await fillVector(vector, [vector.layout], pass, ([stretch = new Float32Array()]) => {
    const bits = new Uint32Array(stretch.buffer, stretch.byteOffset, stretch.length)
    for (let j = 0; j < bits.length; j += 1) {
      const magnitude = bits[j]! & MAGNITUDE
      if (magnitude > least) continue
      if (magnitude === least && left > 0) left -= 1
      else bits[j] = 0
    }
    return stretch
  })
}

async function findThreshold(vector: VectorFile, keep: number, pass: Pass): Promise<Threshold> {
  const upper = new Float64Array(UPPER_BINS)
  await eachBits(vector, pass, (bits) => {
    for (let j = 0; j < bits.length; j += 1) upper[(bits[j]! & MAGNITUDE) >>> HALF_BITS]! += 1
  })
  const coarse = binOf(upper, keep)
  const lower = new Float64Array(LOWER_BINS)
  await eachBits(vector, pass, (bits) => {
    for (let j = 0; j < bits.length; j += 1) {
      const magnitude = bits[j]! & MAGNITUDE
      if (magnitude >>> HALF_BITS === coarse.bin) lower[magnitude % LOWER_BINS]! += 1
    }
  })
  const fine = binOf(lower, coarse.within)
  return { least: coarse.bin * LOWER_BINS + fine.bin, equal: fine.within }
}

/** The bin in which the `rank`-th largest element is, and its rank among those of the bin. */
function binOf(counts: Float64Array, rank: number): { readonly bin: number; readonly within: number } {
  let within = rank
  let bin = counts.length - 1
  for (; bin > 0 && within > counts[bin]!; bin -= 1) within -= counts[bin]!
  return { bin, within }
}

/** Visits the bits of every element, a block at a time. */
async function eachBits(vector: VectorFile, pass: Pass, visit: (bits: Uint32Array) => void): Promise<void> {
  await readVectors([vector.layout], vector.elements, pass, ([stretch = new Float32Array()]) =>
    visit(new Uint32Array(stretch.buffer, stretch.byteOffset, stretch.length)),
  )
}
