import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { requestIdOf, traceParentOf } from './request-id.ts'

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736'
const SPAN = '00f067aa0ba902b7'

const headersOf = (headers: Record<string, string>) => (name: string) => headers[name]

describe('the id of a request', () => {
  it("is the caller's own, else that of its trace, else a new one", () => {
    const traceparent = `00-${TRACE}-${SPAN}-01`
    expect(requestIdOf(headersOf({ 'x-request-id': 'abc-1', traceparent }))).toBe('abc-1')
    expect(requestIdOf(headersOf({ traceparent }))).toBe(TRACE)
    expect(requestIdOf(headersOf({}))).not.toBe(requestIdOf(headersOf({})))
  })

  it('is one short word, whatever the caller sends', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 300 }), fc.string({ maxLength: 80 }), (id, traceparent) => {
        expect(requestIdOf(headersOf({ 'x-request-id': id, traceparent }))).toMatch(/^[!-~]{1,128}$/)
      }),
    )
  })
})

describe('traceparent', () => {
  it('is read when it is well-formed, and nothing else is', () => {
    expect(traceParentOf(headersOf({ traceparent: `00-${TRACE}-${SPAN}-01` }))).toEqual({
      traceId: TRACE,
      spanId: SPAN,
    })
    const malformed = [
      `00-${'0'.repeat(32)}-${SPAN}-01`,
      `00-${TRACE}-${'0'.repeat(16)}-01`,
      `00-${TRACE.toUpperCase()}-${SPAN}-01`,
      `00-${TRACE}-${SPAN}`,
      '',
    ]
    for (const traceparent of malformed) expect(traceParentOf(headersOf({ traceparent })), traceparent).toBeUndefined()
  })
})
