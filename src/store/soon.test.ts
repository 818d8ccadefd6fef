import { expect, it } from 'vitest'
import { soon } from './soon.ts'

it('gives what is there in time, and what fails in time', async () => {
  expect(await soon(Promise.resolve(7), 'it')).toBe(7)
  await expect(soon(Promise.reject(new Error('broken')), 'it')).rejects.toThrow('broken')
})

it('asks to come again for what takes longer, and lets it go on', async () => {
  let finish: (value: number) => void = () => undefined
  const work = new Promise<number>((resolve) => {
    finish = resolve
  })
  await expect(soon(work, 'it', 1)).rejects.toMatchObject({ code: 'UNAVAILABLE', retryMs: expect.any(Number) })
  finish(7)
  expect(await work).toBe(7)
})

it('says nothing of a failure that comes too late for whoever asked', async () => {
  let fail: (error: Error) => void = () => undefined
  const work = new Promise<number>((_, reject) => {
    fail = reject
  })
  await expect(soon(work, 'it', 1)).rejects.toMatchObject({ code: 'UNAVAILABLE' })
  // An unhandled rejection would fail this run.
  fail(new Error('broken'))
  await new Promise((resolve) => setImmediate(resolve))
})
