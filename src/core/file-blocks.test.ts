import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { fileBlocks } from './file-blocks.ts'

const BYTES = Buffer.from(Array.from({ length: 1000 }, (_, i) => (i * 31) % 251))
let directory: string
let path: string

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'file-blocks-'))
  path = join(directory, 'file')
  await writeFile(path, BYTES)
})
afterAll(() => rm(directory, { recursive: true }))

async function read(span: { start: number; end: number }, blockBytes: number): Promise<Buffer> {
  const blocks: Buffer[] = []
  for await (const block of fileBlocks(path, span, blockBytes)) blocks.push(Buffer.from(block))
  return Buffer.concat(blocks)
}

describe('blocks of a file', () => {
  it('are its bytes, wherever they begin and end and however large they are', async () => {
    const position = fc.integer({ min: 0, max: BYTES.length })
    await fc.assert(
      fc.asyncProperty(position, position, fc.integer({ min: 1, max: 1500 }), async (one, other, blockBytes) => {
        const [start, end] = [Math.min(one, other), Math.max(one, other)]
        expect((await read({ start, end }, blockBytes)).equals(BYTES.subarray(start, end))).toBe(true)
      }),
      { numRuns: 40, seed: 7 },
    )
  })

  it('stay as they are while the next is read', async () => {
    const blocks = fileBlocks(path, { start: 0, end: BYTES.length }, 400)
    const first: Uint8Array = (await blocks.next()).value ?? new Uint8Array()
    // Long enough for the next read to end: a single buffer would hold its bytes now.
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect(BYTES.subarray(0, 400).equals(first)).toBe(true)
    await blocks.return(undefined)
  })

  it('end with a file that is shorter than it was said to be', async () => {
    expect((await read({ start: 100, end: 5000 }, 400)).equals(BYTES.subarray(100))).toBe(true)
  })
})
