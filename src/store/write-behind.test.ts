import { describe, expect, it } from 'vitest'
import type { Block } from './block-pool.ts'
import type { Pass } from './pass-threads.ts'
import { writeBehind } from './write-behind.ts'

const BLOCK: Block = new Uint8Array(new SharedArrayBuffer(2 ** 20))
const pass: Pass = {
  push: async () => undefined,
  finish: () => Promise.reject(new Error('not asked for')),
  drop: () => undefined,
}

/** A file whose flushes end when they are told to. */
function slowFile() {
  const under: { resolve(): void; reject(error: Error): void }[] = []
  let flushes = 0
  const datasync = () => {
    flushes += 1
    return new Promise<void>((resolve, reject) => under.push({ resolve, reject }))
  }
  return {
    datasync,
    flushes: () => flushes,
    end: () => under.shift()?.resolve(),
    fail: () => under.shift()?.reject(new Error('EIO')),
  }
}

const turn = () => new Promise((resolve) => setImmediate(resolve))
async function pushMiB(to: Pass, count: number): Promise<void> {
  for (let i = 0; i < count; i += 1) await to.push(BLOCK, BLOCK.byteLength)
  await turn()
}

describe('writing behind', () => {
  it('flushes while more arrives, one file at a time, and once more at the end', async () => {
    const [one, other] = [slowFile(), slowFile()]
    const [first, second] = [writeBehind(pass, one), writeBehind(pass, other)]
    await pushMiB(first, 15)
    expect(one.flushes()).toBe(0)
    await pushMiB(first, 33)
    await pushMiB(second, 20)
    expect([one.flushes(), other.flushes()]).toEqual([1, 0])
    one.end()
    await turn()
    await pushMiB(second, 1)
    expect(other.flushes()).toBe(1)
    other.end()
    const durable = first.durable()
    await turn()
    expect(one.flushes()).toBe(2)
    one.end()
    await durable
  })

  it('does not lose the failure of an early flush', async () => {
    const file = slowFile()
    const behind = writeBehind(pass, file)
    await pushMiB(behind, 16)
    file.fail()
    await expect(behind.durable()).rejects.toThrow('EIO')
    expect(file.flushes()).toBe(1)
  })
})
