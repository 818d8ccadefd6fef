import { describe, expect, it } from 'vitest'
import { Batches } from './batches.ts'
import { TapestryError } from './error.ts'

const doubled = (numbers: readonly number[]) => numbers.map((one) => 2 * one)

describe('Batches', () => {
  it('answers together what came while a batch was under way, at most so many, in order', async () => {
    const sizes: number[] = []
    const batches = new Batches<number, number>(
      async (numbers) => {
        sizes.push(numbers.length)
        await new Promise((resolve) => setImmediate(resolve))
        return doubled(numbers)
      },
      { most: 4 },
    )
    const answers = await Promise.all(Array.from({ length: 9 }, (_, i) => batches.ask(i)))
    expect(answers).toEqual(doubled([0, 1, 2, 3, 4, 5, 6, 7, 8]))
    expect(sizes).toEqual([4, 4, 1])
  })

  it('never answers from what was asked before the question came', async () => {
    let value = 0
    let release = () => {}
    const batches = new Batches<string, number>(async (all) => {
      const seen = value
      await new Promise<void>((resolve) => {
        release = resolve
      })
      return all.map(() => seen)
    })
    const first = batches.ask('first')
    await new Promise((resolve) => setTimeout(resolve, 5))
    value = 1
    const second = batches.ask('second')
    release()
    expect(await first).toBe(0)
    await new Promise((resolve) => setTimeout(resolve, 5))
    release()
    expect(await second).toBe(1)
  })

  it('keeps names apart', async () => {
    const seen: string[][] = []
    const batches = new Batches<string, string>(
      async (all) => {
        seen.push([...all])
        return all
      },
      { nameOf: (text) => text.slice(0, 1) },
    )
    await Promise.all(['a1', 'b1', 'a2', 'b2'].map((text) => batches.ask(text)))
    expect(seen).toEqual([
      ['a1', 'a2'],
      ['b1', 'b2'],
    ])
  })

  it('gives each its own error', async () => {
    const odd = new TapestryError('INVALID_ARGUMENT', 'odd')
    const batches = new Batches<number, number>(async (all) => all.map((one) => (one % 2 === 0 ? one : odd)))
    const settled = await Promise.allSettled([batches.ask(0), batches.ask(1), batches.ask(2)])
    expect(settled.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
  })

  it('asks again one by one when a batch fails, so that one cannot spoil the others', async () => {
    const batches = new Batches<number, number>(async (all) => {
      if (all.includes(13)) throw new Error('unlucky')
      return doubled(all)
    })
    const settled = await Promise.allSettled([batches.ask(1), batches.ask(13), batches.ask(2)])
    expect(settled.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
  })

  it('does not ask again while nothing answers', async () => {
    let asked = 0
    const batches = new Batches<number, number>(async () => {
      asked += 1
      throw new TapestryError('UNAVAILABLE', 'down')
    })
    await Promise.allSettled([batches.ask(1), batches.ask(2), batches.ask(3)])
    expect(asked).toBe(1)
  })
})
