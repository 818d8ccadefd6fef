import { describe, expect, it } from 'vitest'
import { TapestryError } from '../core/error.ts'
import { faultOf, VersionConflict } from './fault.ts'

/** The form in which Prisma wraps what the driver reported for a raw query. */
function rawFailure(originalCode: string): Error {
  const cause = { originalCode, kind: 'postgres', code: originalCode }
  return Object.assign(new Error('raw query failed'), { code: 'P2010', meta: { driverAdapterError: { cause } } })
}

describe('faultOf', () => {
  it.each([
    ['a serialization failure', rawFailure('40001'), 'conflict', 'UNAVAILABLE'],
    ['a deadlock', rawFailure('40P01'), 'conflict', 'UNAVAILABLE'],
    ['a conflict as Prisma names it', Object.assign(new Error(), { code: 'P2034' }), 'conflict', 'UNAVAILABLE'],
    [
      'a conflict at the commit',
      new Error('', { cause: { kind: 'TransactionWriteConflict' } }),
      'conflict',
      'UNAVAILABLE',
    ],
    ['a moved version', new VersionConflict('moved'), 'conflict', 'UNAVAILABLE'],
    ['a duplicate', rawFailure('23505'), 'duplicate', 'ALREADY_EXISTS'],
    ['a missing parent', rawFailure('23503'), 'final', 'NOT_FOUND'],
    ['a full disk', rawFailure('53100'), 'final', 'DISK_FULL'],
    ['a text that cannot be stored', rawFailure('22021'), 'final', 'INVALID_ARGUMENT'],
    ['a refused connection', Object.assign(new Error(), { code: 'ECONNREFUSED' }), 'unreachable', 'UNAVAILABLE'],
    ['a server that stops', rawFailure('57P01'), 'unreachable', 'UNAVAILABLE'],
    [
      'a lost connection',
      new Error('x', { cause: new Error('Connection terminated unexpectedly') }),
      'unreachable',
      'UNAVAILABLE',
    ],
    ['anything else', rawFailure('42601'), 'final', 'INTERNAL'],
    ['a thrown non-error', 'oops', 'final', 'INTERNAL'],
    ['nothing', undefined, 'final', 'INTERNAL'],
  ])('knows %s', (_, thrown, kind, code) => {
    expect(faultOf(thrown)).toMatchObject({ kind, error: { code } })
  })

  it('passes our own errors on as they are', () => {
    const error = new TapestryError('NOT_FOUND', 'no')
    expect(faultOf(error)).toEqual({ kind: 'final', error })
  })

  it('ends on errors that contain themselves', () => {
    const error = new Error('loop')
    error.cause = error
    expect(faultOf(error).error.code).toBe('INTERNAL')
  })
})
