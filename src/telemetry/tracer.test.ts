import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { json } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { openTracer, SILENT_TRACER } from './tracer.ts'

const Request = z.object({
  resourceSpans: z.array(
    z.object({
      scopeSpans: z.array(
        z.object({
          spans: z.array(
            z.object({
              name: z.string(),
              traceId: z.string(),
              parentSpanId: z.string().optional(),
              status: z.object({ code: z.number().optional() }).optional(),
            }),
          ),
        }),
      ),
    }),
  ),
})

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736'
const SPAN = '00f067aa0ba902b7'

/** A collector on this machine that keeps what it is sent. */
let collector: Server
let endpoint: string
const received: { readonly path: string; readonly body: unknown }[] = []

beforeAll(async () => {
  collector = createServer((request, response) => {
    json(request).then((body) => {
      received.push({ path: request.url ?? '', body })
      response.setHeader('Content-Type', 'application/json').end('{}')
    })
  })
  await new Promise<void>((resolve) => collector.listen(0, '127.0.0.1', resolve))
  endpoint = `http://127.0.0.1:${(collector.address() as AddressInfo).port}`
})

afterAll(() => collector.close())

describe('the tracer', () => {
  it('is silent, and loads nothing, unless a collector is named', async () => {
    expect(await openTracer({ OTEL_SERVICE_NAME: 'x' }, 'tapestry-test', '1')).toBe(SILENT_TRACER)
  })

  it("sends spans under the caller's trace, failures marked", async () => {
    const tracer = await openTracer({ OTEL_EXPORTER_OTLP_ENDPOINT: `${endpoint}/` }, 'tapestry-test', '1')
    tracer.begin('Round/Join', 'server', { 'rpc.system': 'grpc' }, { traceId: TRACE, spanId: SPAN }).end('OK')
    tracer.begin('aggregate', 'internal', {}).end('DISK_FULL')
    await tracer.close()
    expect(received.map(({ path }) => path)).toEqual(['/v1/traces'])
    const [resource] = Request.parse(received[0]?.body).resourceSpans
    const spans = resource?.scopeSpans.flatMap((scope) => scope.spans) ?? []
    expect(spans.map(({ name, status }) => [name, status?.code ?? 0])).toEqual([
      ['Round/Join', 0],
      ['aggregate', 2],
    ])
    expect(spans[0]).toMatchObject({ traceId: TRACE, parentSpanId: SPAN })
  })

  it('ends in time when the collector does not answer', async () => {
    const tracer = await openTracer({ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1' }, 'tapestry-test', '1')
    tracer.begin('x', 'internal', {}).end('OK')
    await expect(tracer.close()).resolves.toBeUndefined()
  })
})
