import { status as Grpc } from '@grpc/grpc-js'
import { describe, expect, it } from 'vitest'
import { TapestryError } from '../core/error.ts'
import { grpcFailure } from '../rpc/status.ts'
import { problemOf } from '../transfer/problem.ts'
import { refusalOf } from './https-failure.ts'
import { isPassing, retrying, waitAfter } from './retry.ts'
import { rpcError } from './rpc-error.ts'

const full = (retryMs: number) => new TapestryError('RESOURCE_EXHAUSTED', 'no room', { retryMs })
const backoff = (random: number) => ({ baseMs: 100, capMs: 400, random: () => random })

/** The same failure as the other side of a gRPC call hears of it. */
function overGrpc(error: TapestryError): TapestryError {
  return rpcError('Announce', Object.assign(new Error(''), { name: '', ...grpcFailure(error) }))
}

/** And of an HTTPS request. */
function overHttps(error: TapestryError): unknown {
  const { status, code, detail, headers } = problemOf(error)
  return refusalOf(status, JSON.stringify({ code, detail }), headers?.['Retry-After'])
}

describe('a delay that the coordinator asks for', () => {
  it('travels both ways, in whole seconds over HTTPS', () => {
    expect(grpcFailure(full(1500)).code).toBe(Grpc.RESOURCE_EXHAUSTED)
    expect(overGrpc(full(1500))).toMatchObject({ code: 'RESOURCE_EXHAUSTED', retryMs: 1500 })
    expect(overHttps(full(1500))).toMatchObject({ code: 'RESOURCE_EXHAUSTED', retryMs: 2000 })
    expect(overGrpc(new TapestryError('RESOURCE_EXHAUSTED', 'no room')).retryMs).toBeUndefined()
  })

  it.each([-1, 0, Number.NaN])('is none when it is %d', (retryMs) => {
    expect(overGrpc(full(retryMs)).retryMs).toBeUndefined()
    expect(overHttps(full(retryMs))).toMatchObject({ retryMs: undefined })
  })

  it('keeps nobody waiting for days', () => {
    expect(overGrpc(full(1e15)).retryMs).toBe(300_000)
    expect(overHttps(full(Number.POSITIVE_INFINITY))).toMatchObject({ retryMs: 300_000 })
  })

  it('is waited out, and up to half as long again', () => {
    expect(waitAfter(full(1000), 5, backoff(0))).toBe(1000)
    expect(waitAfter(full(1000), 0, backoff(0.5))).toBe(1250)
    expect(waitAfter(new TapestryError('UNAVAILABLE', 'gone'), 5, backoff(0.5))).toBe(200)
  })

  it('makes a refusal a passing one, which a call repeats unless that takes too long', async () => {
    expect(isPassing(full(1))).toBe(true)
    expect(isPassing(new TapestryError('RESOURCE_EXHAUSTED', 'no room'))).toBe(false)
    const failing = (error: TapestryError) => {
      let calls = 0
      const action = async () => {
        calls += 1
        throw error
      }
      return retrying(action, { attempts: 3, backoff: backoff(0) }).catch(() => calls)
    }
    expect(await failing(full(1))).toBe(3)
    expect(await failing(full(401))).toBe(1)
  })
})
