import fc from 'fast-check'
import { describe, expect, it, vi } from 'vitest'
import { BLOCK_BYTES, type Block, BlockPool } from './block-pool.ts'
import { takeIn } from './intake.ts'
import type { Pass } from './pass-threads.ts'

/** A pass that keeps what it is handed, and is as slow as `work`. */
function slowPass(work: () => Promise<void> = async () => undefined) {
  const handed: Buffer[] = []
  let busy = 0
  let most = 0
  let turn = Promise.resolve()
  const push = (block: Block, length: number) => {
    most = Math.max(most, ++busy)
    turn = turn.then(work).then(() => {
      handed.push(Buffer.from(block.subarray(0, length)))
      busy -= 1
    })
    return turn
  }
  const pass: Pass = { push, finish: () => Promise.reject(new Error('not asked')), drop: () => undefined }
  return { pass, handed, bytes: () => Buffer.concat(handed), most: () => most }
}

async function* pieces(lengths: readonly number[], failure?: Error) {
  let at = 0
  for (const length of lengths) yield Uint8Array.from({ length }, () => at++ % 251)
  if (failure) throw failure
}

const expectedBytes = (length: number) => Buffer.from(Uint8Array.from({ length }, (_, i) => i % 251))
const later = () => new Promise<void>((resolve) => setImmediate(resolve))

describe('takeIn', () => {
  it('loses nothing whatever the pieces, the limit and the ending', async () => {
    const lengths = fc.array(fc.oneof(fc.nat({ max: 100 }), fc.nat({ max: 2 * BLOCK_BYTES + 1 })), { maxLength: 5 })
    await fc.assert(
      fc.asyncProperty(
        lengths,
        fc.boolean(),
        fc.double({ min: 0, max: 1.2, noNaN: true }),
        async (sizes, fails, share) => {
          const total = sizes.reduce((sum, size) => sum + size, 0)
          const most = Math.floor(share * total)
          const failure = fails ? new Error('cut') : undefined
          const { pass, bytes } = slowPass()
          const taken = takeIn(pass, most, pieces(sizes, failure), new BlockPool(2))
          const overflow = total > most
          if (failure !== undefined && !overflow) await expect(taken).rejects.toBe(failure)
          else expect(await taken).toEqual({ taken: Math.min(most, total), overflow })
          expect(bytes().equals(expectedBytes(Math.min(most, total)))).toBe(true)
        },
      ),
      { numRuns: 25, seed: 7 },
    )
  })

  it('asks for nothing while the thread is behind', async () => {
    let asked = 0
    async function* counted() {
      for (; asked < 20; ) {
        asked += 1
        yield new Uint8Array(BLOCK_BYTES)
      }
    }
    let release = () => {}
    const gate = new Promise<void>((resolve) => {
      release = resolve
    })
    const { pass, most } = slowPass(() => gate)
    const done = takeIn(pass, 100 * BLOCK_BYTES, counted(), new BlockPool(8))
    for (let turn = 0; turn < 50; turn += 1) await later()
    expect(asked).toBeLessThanOrEqual(3)
    release()
    expect(await done).toEqual({ taken: 20 * BLOCK_BYTES, overflow: false })
    expect(most()).toBeLessThanOrEqual(3)
  })

  it('tells of a block that could not be written, and hands over no more', async () => {
    const full = Object.assign(new Error('no space'), { code: 'ENOSPC' })
    const { pass, handed } = slowPass(() => Promise.reject(full))
    const taken = takeIn(
      pass,
      100 * BLOCK_BYTES,
      pieces(Array.from({ length: 20 }, () => BLOCK_BYTES)),
      new BlockPool(8),
    )
    await expect(taken).rejects.toBe(full)
    expect(handed).toHaveLength(0)
  })

  it('lets no silent sender keep memory from others', async () => {
    const pool = new BlockPool(3)
    let wake = () => {}
    const silence = new Promise<void>((resolve) => {
      wake = resolve
    })
    async function* silent() {
      yield Uint8Array.of(1)
      await silence
      yield Uint8Array.of(2)
    }
    const idle = [1, 2, 3, 4, 5].map(() => {
      const { pass, bytes } = slowPass()
      return { bytes, done: takeIn(pass, 2, silent(), pool) }
    })
    await later()
    const { pass, bytes } = slowPass()
    await takeIn(pass, 3 * BLOCK_BYTES, pieces([3 * BLOCK_BYTES]), pool)
    expect(bytes().length).toBe(3 * BLOCK_BYTES)
    wake()
    for (const { bytes: kept, done } of idle) {
      expect(await done).toEqual({ taken: 2, overflow: false })
      expect([...kept()]).toEqual([1, 2])
    }
  })
})

describe('BlockPool', () => {
  it('gives no more blocks than it has, first come first served, and reuses them', async () => {
    const pool = new BlockPool(2)
    const first = await pool.take()
    const second = await pool.take()
    const order: string[] = []
    const take = async (name: string) => {
      const block = await pool.take()
      order.push(name)
      return block
    }
    const [third, fourth] = [take('third'), take('fourth')]
    await later()
    expect(order).toEqual([])
    expect(pool.isShort).toBe(true)
    pool.give(second)
    pool.give(first)
    expect(await third).toBe(second)
    expect(await fourth).toBe(first)
    expect(order).toEqual(['third', 'fourth'])
    expect(pool.isShort).toBe(false)
  })

  it('keeps what everybody gave back for a moment, so that a round makes its blocks once', async () => {
    vi.useFakeTimers()
    try {
      const pool = new BlockPool(2)
      const block = await pool.take()
      pool.give(block)
      vi.advanceTimersByTime(1000)
      expect((await pool.take()) === block).toBe(true)
      vi.advanceTimersByTime(60_000)
      pool.give(block)
      vi.advanceTimersByTime(60_000)
      expect((await pool.take()) === block).toBe(false)
    } finally {
      vi.useRealTimers()
    }
  })
})
