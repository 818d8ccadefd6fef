import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { BlockReader } from './block-reader.ts'

const BLOCK_BYTES = 64 * 1024

async function read(reader: BlockReader): Promise<{ readonly sizes: number[]; readonly bytes: Buffer }> {
  const blocks: Buffer[] = []
  for await (const block of reader.blocks()) blocks.push(Buffer.from(block))
  return { sizes: blocks.map(({ length }) => length), bytes: Buffer.concat(blocks) }
}

describe('blocks', () => {
  it('are full but for the last, and lose nothing, whatever the pieces', async () => {
    const piece = fc.integer({ min: 0, max: 3 * BLOCK_BYTES })
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { maxLength: 6 }), async (sizes) => {
        const pieces = sizes.map((size, i) => Buffer.alloc(size, i + 1))
        const reader = new BlockReader(BLOCK_BYTES, () => undefined)
        const reading = read(reader)
        for (const bytes of pieces) {
          reader.push(bytes)
          await Promise.resolve()
        }
        reader.end()
        const { sizes: found, bytes } = await reading
        expect(bytes.equals(Buffer.concat(pieces))).toBe(true)
        expect(found.slice(0, -1).every((size) => size === BLOCK_BYTES)).toBe(true)
      }),
      { numRuns: 30, seed: 7 },
    )
  })

  it('hold a source back while nobody takes them, and let it go on', async () => {
    let resumed = 0
    const reader = new BlockReader(BLOCK_BYTES, () => resumed++)
    const block = Buffer.alloc(BLOCK_BYTES, 7)
    expect([reader.push(block), reader.push(block), reader.push(block)]).toEqual([true, false, false])
    const blocks = reader.blocks()
    for (let taken = 1; taken <= 3; taken++) expect((await blocks.next()).done).toBe(false)
    expect(resumed).toBe(1)
  })

  it('come before the failure that cut them', async () => {
    const reader = new BlockReader(BLOCK_BYTES, () => undefined)
    reader.push(Buffer.from('half'))
    reader.end(new Error('cut'))
    reader.end()
    const blocks = reader.blocks()
    expect(Buffer.from((await blocks.next()).value ?? []).toString()).toBe('half')
    await expect(blocks.next()).rejects.toThrow('cut')
  })

  it('stay as they are until the second after them is asked for', async () => {
    const reader = new BlockReader(BLOCK_BYTES, () => undefined)
    for (const fill of [1, 2]) reader.push(Buffer.alloc(BLOCK_BYTES, fill))
    const blocks = reader.blocks()
    const first: Uint8Array = (await blocks.next()).value ?? new Uint8Array()
    await blocks.next()
    for (const fill of [3, 4, 5]) reader.push(Buffer.alloc(BLOCK_BYTES, fill))
    expect(first.every((byte) => byte === 1)).toBe(true)
  })
})
