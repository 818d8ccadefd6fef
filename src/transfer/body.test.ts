import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { inBlocks } from './body.ts'

const BLOCK = 256 * 1024

async function collect(source: AsyncIterable<Uint8Array>) {
  const sizes: number[] = []
  const bytes: Buffer[] = []
  let failure: unknown
  try {
    for await (const block of inBlocks(source)) {
      sizes.push(block.byteLength)
      bytes.push(Buffer.from(block))
    }
  } catch (error) {
    failure = error
  }
  return { sizes, bytes: Buffer.concat(bytes), failure }
}

async function* pieces(lengths: readonly number[], failure?: Error) {
  let at = 0
  for (const length of lengths) {
    yield Uint8Array.from({ length }, () => at++ % 251)
  }
  if (failure) throw failure
}

describe('blocks of a body', () => {
  it('are full, except the last, and lose nothing whatever the pieces and the ending', async () => {
    const lengths = fc.array(fc.integer({ min: 0, max: BLOCK * 2 + 1 }), { maxLength: 4 })
    await fc.assert(
      fc.asyncProperty(lengths, fc.boolean(), async (sizes, fails) => {
        const failure = fails ? new Error('cut') : undefined
        const total = sizes.reduce((sum, size) => sum + size, 0)
        const got = await collect(pieces(sizes, failure))
        expect(got.bytes.equals(Buffer.from(Array.from({ length: total }, (_, i) => i % 251)))).toBe(true)
        expect(got.sizes.slice(0, -1).every((size) => size === BLOCK)).toBe(true)
        expect(got.failure).toBe(failure)
      }),
      { numRuns: 15, seed: 7 },
    )
  })

  it('are not read ahead', async () => {
    let asked = 0
    async function* counted() {
      for (;;) {
        asked++
        yield new Uint8Array(BLOCK)
      }
    }
    const blocks = inBlocks(counted())
    await blocks.next()
    await blocks.next()
    expect(asked).toBe(2)
    await blocks.return(undefined)
  })
})
