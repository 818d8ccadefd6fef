import { describe, expect, it } from 'vitest'
import { NODE_STATUSES, type StatusChange, statusAfter, statusAfterLeaving } from './membership.ts'

const CHANGES: readonly StatusChange[] = ['suspend', 'reinstate', 'eject']
const forGood = expect.objectContaining({ code: 'FAILED_PRECONDITION' })

describe('the status of a node', () => {
  it('is never changed back once the node has left or was ejected', () => {
    for (const change of CHANGES) expect(() => statusAfter('left', change)).toThrow(forGood)
    expect(() => statusAfter('ejected', 'suspend')).toThrow(forGood)
    expect(() => statusAfter('ejected', 'reinstate')).toThrow(forGood)
    expect(NODE_STATUSES.map(statusAfterLeaving)).toEqual(['left', 'left', 'left', 'ejected'])
  })

  it('is the same when a change is repeated', () => {
    for (const change of CHANGES) {
      const once = statusAfter('active', change)
      expect(statusAfter(once, change)).toBe(once)
      expect(statusAfter('suspended', change)).toBe(once)
    }
  })
})
