import { describe, expect, it } from 'vitest'
import { steady } from './steady.ts'

const tooSlow = expect.objectContaining({ code: 'DEADLINE_EXCEEDED' })

/** A sender that takes so long for each of its blocks, by a clock of its own. */
function sender(blocks: readonly { readonly bytes: number; readonly ms: number }[]) {
  let now = 0
  async function* source() {
    for (const { bytes, ms } of blocks) {
      now += ms
      yield new Uint8Array(bytes)
    }
  }
  return { source: source(), clock: { now: () => now } }
}

async function taken(source: ReturnType<typeof steady>): Promise<number> {
  let bytes = 0
  for await (const block of source as AsyncIterable<Uint8Array>) bytes += block.byteLength
  return bytes
}

describe('steady', () => {
  it('passes everything on from a sender that is fast enough', async () => {
    const { source, clock } = sender(Array.from({ length: 10 }, () => ({ bytes: 61_000, ms: 60_000 })))
    expect(await taken(steady(source, 1000, clock))).toBe(610_000)
  })

  it('gives up on a trickle', async () => {
    const { source, clock } = sender(Array.from({ length: 100 }, () => ({ bytes: 1, ms: 1000 })))
    await expect(taken(steady(source, 1000, clock))).rejects.toThrow(tooSlow)
  })

  it('gives up on a sender that falls silent, without waiting for it to end', async () => {
    async function* source() {
      yield new Uint8Array(1)
      await new Promise(() => undefined)
    }
    await expect(taken(steady(source(), 0, { now: () => 0 }, 20))).rejects.toThrow(tooSlow)
  })
})
