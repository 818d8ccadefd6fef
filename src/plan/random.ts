import { createHash } from 'node:crypto'

/**
 * A seeded source of numbers that is the same on every machine: integer operations and exact
 * additions only. Math.log, sin and cos may differ in their last bit between engines, which is why
 * {@link Random.normal} is a sum and not Box-Muller.
 */
export type Random = {
  /** A whole number from 0 to 2^32 - 1. */
  uint32(): number
  /** A whole number from 0 to `limit` - 1, for limits up to 2^32. */
  below(limit: number): number
  /** Mean 0, variance 1, within +-6: Irwin-Hall, twelve uniforms of 16 bits minus six. */
  normal(): number
}

/**
 * xoshiro128** (Blackman and Vigna, "Scrambled Linear Pseudorandom Number Generators", 2018; public
 * domain reference code), with its 128-bit state taken from the SHA-256 of `seed`, so that any two
 * different texts give unrelated streams.
 */
export function randomFrom(seed: string): Random {
  const uint32 = xoshiro128(createHash('sha256').update(seed).digest())
  return { uint32, below: (limit) => Math.floor((uint32() / 2 ** 32) * limit), normal: () => irwinHall(uint32) }
}

function xoshiro128(seed: Buffer): () => number {
  let [a, b, c, d] = [seed.readUInt32LE(0), seed.readUInt32LE(4), seed.readUInt32LE(8), seed.readUInt32LE(12) | 1]
  return () => {
    const result = Math.imul(rotateLeft(Math.imul(b, 5), 7), 9) >>> 0
    const shifted = b << 9
    c ^= a
    d ^= b
    b ^= c
    a ^= d
    c ^= shifted
    d = rotateLeft(d, 11)
    return result
  }
}

function rotateLeft(word: number, bits: number): number {
  return (word << bits) | (word >>> (32 - bits))
}

/** Every term is a multiple of 2^-17, so the sum is exact whatever the order. */
function irwinHall(uint32: () => number): number {
  let sum = 0
  for (let draw = 0; draw < 6; draw++) {
    const word = uint32()
    sum += (word & 0xffff) + (word >>> 16)
  }
  return (sum + 6) / 65536 - 6
}

/** A shuffled copy of `items` (Fisher-Yates, Durstenfeld 1964). */
export function shuffled<T>(items: readonly T[], random: Random): T[] {
  const order = items.slice()
  for (let last = order.length - 1; last > 0; last--) {
    const chosen = random.below(last + 1)
    const moved = order[last] as T
    order[last] = order[chosen] as T
    order[chosen] = moved
  }
  return order
}
