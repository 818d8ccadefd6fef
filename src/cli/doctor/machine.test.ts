import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { TapestryError } from '../../core/error.ts'
import { diagnose, ok } from './diagnosis.ts'
import { examineClock, examineDisk, examineEnd, examineKeys } from './machine.ts'

let directory: string

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tapestry-doctor-'))
})

afterEach(() => rm(directory, { recursive: true, force: true }))

describe('a clock', () => {
  test('is judged by what cannot be the way there and back', () => {
    const state = (sent: number, theirs: number, received: number) => examineClock(sent, theirs, received, 'x').state
    expect(state(0, 60_000, 120_000)).toBe('ok')
    expect(state(0, 29_999, 0)).toBe('ok')
    expect(state(0, 30_000, 0)).toBe('warn')
    expect(state(40_000, 0, 50_000)).toBe('warn')
    expect(state(0, 300_000, 0)).toBe('fail')
    expect(state(300_000, 0, 300_001)).toBe('fail')
  })
})

describe('an end', () => {
  test('is near, past, or far', () => {
    const state = (end: number) => examineEnd('it', end, 1000, 100, 'do').state
    expect([state(1000), state(1099), state(1100)]).toEqual(['fail', 'warn', 'ok'])
  })
})

describe('keys', () => {
  const secret = (name: string) => name.endsWith('.key')

  test('are there and their owner’s alone', async () => {
    await writeFile(join(directory, 'a.key'), 'x', { mode: 0o600 })
    await writeFile(join(directory, 'a.crt'), 'x', { mode: 0o644 })
    expect((await examineKeys(directory, ['a.key', 'a.crt'], secret)).state).toBe('ok')
    expect((await examineKeys(directory, ['a.key', 'b.key'], secret)).state).toBe('fail')
    await chmod(join(directory, 'a.key'), 0o640)
    expect(await examineKeys(directory, ['a.key'], secret)).toMatchObject({
      state: 'fail',
      remedy: `chmod 600 ${join(directory, 'a.key')}`,
    })
  })
})

describe('a disk', () => {
  test('is judged by what is free', async () => {
    expect((await examineDisk(directory, 1)).state).toBe('ok')
    expect((await examineDisk(directory, Number.MAX_SAFE_INTEGER)).state).toBe('fail')
  })
})

describe('a diagnosis', () => {
  test('goes on after a failure and keeps its hint', async () => {
    const findings = await diagnose([
      { check: 'a', examine: () => Promise.reject(new TapestryError('UNAVAILABLE', 'away', { hint: 'call' })) },
      { check: 'b', examine: () => Promise.reject(new Error('strange')) },
      { check: 'c', examine: async () => ok('fine') },
    ])
    expect(findings).toEqual([
      { check: 'a', state: 'fail', detail: 'UNAVAILABLE: away', remedy: 'call' },
      { check: 'b', state: 'fail', detail: 'INTERNAL: strange', remedy: undefined },
      { check: 'c', state: 'ok', detail: 'fine' },
    ])
  })
})
