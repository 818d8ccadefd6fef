import { describe, expect, it } from 'vitest'
import { digestOf } from '../core/digest.ts'
import { ensureRunId } from '../core/ids.ts'
import { entryBytes, type LedgerEvent, parseEntry, partsOf, subjectOf } from './entry.ts'

const failed = expect.objectContaining({ code: 'VERIFICATION_FAILED' })
const release: LedgerEvent = {
  type: 'release',
  checkpoint: digestOf('manifest'),
  run: ensureRunId('run'),
  version: 3,
  round: 4,
  parent: null,
}

describe('an entry', () => {
  it('is canonical JSON, and is read back', () => {
    const bytes = entryBytes(release, 7)
    expect(Buffer.from(bytes).toString()).toBe(
      `{"at":7,"checkpoint":"${digestOf('manifest')}","parent":null,"round":4,"run":"run","type":"release","version":3}`,
    )
    expect(parseEntry(bytes)).toEqual({ ...release, at: 7 })
    expect(subjectOf(release)).toBe(digestOf('manifest'))
  })

  it.each([
    ['a type that this build does not know', { ...release, type: 'opinion', at: 7 }],
    ['a member too many', { ...release, at: 7, remark: 'hello' }],
    ['no time', release],
    ['a version below 0', { ...release, at: 7, version: -1 }],
    ['another form of digest', { ...release, at: 7, checkpoint: 'md5:00' }],
  ])('is refused with %s', (_, value) => {
    expect(() => parseEntry(Buffer.from(JSON.stringify(value)))).toThrow(failed)
  })

  it('is refused in any other spelling', () => {
    const text = Buffer.from(entryBytes(release, 7)).toString()
    expect(() => parseEntry(Buffer.from(` ${text}`))).toThrow(failed)
    expect(() => parseEntry(Buffer.from(text.slice(0, -1)))).toThrow(failed)
  })
})

describe('a list that is too long for one entry', () => {
  it('is told in parts, whole and in order', () => {
    const items = Array.from({ length: 1000 }, (_, index) => ({ reason: `${index} ${'r'.repeat(200)}` }))
    const parts = partsOf(items)
    expect(parts.length).toBeGreaterThan(3)
    expect(parts.flatMap((part) => part.items)).toEqual(items)
    expect(parts.map(({ part }) => part)).toEqual(parts.map((_, at) => ({ number: at + 1, of: parts.length })))
    for (const { items: own } of parts) expect(JSON.stringify(own).length).toBeLessThan(50_000)
  })

  it('is one part when it is short, and when it is empty', () => {
    expect(partsOf([1, 2])).toEqual([{ part: { number: 1, of: 1 }, items: [1, 2] }])
    expect(partsOf([])).toEqual([{ part: { number: 1, of: 1 }, items: [] }])
  })
})
