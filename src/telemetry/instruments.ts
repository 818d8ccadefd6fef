import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'

/** Seconds: most calls are a transaction of a few milliseconds; an upload over gRPC takes minutes. */
const CALL_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]

/** What is counted while it happens. Labels are drawn from closed lists: methods, codes, directions; never from callers. */
export type Instruments = {
  readonly registry: Registry
  readonly calls: Counter<'method' | 'code'>
  readonly callSeconds: Histogram<'method'>
  readonly openStreams: Gauge<'method'>
  readonly callBytes: Counter<'direction'>
  readonly transfers: Counter<'method' | 'status'>
  readonly transferBytes: Counter<'direction'>
}

/** A registry with what every process of ours shows: which build it is, and the numbers of Node.js. */
export function createRegistry(build: { readonly version: string }): Registry {
  const registry = new Registry()
  const registers = [registry]
  collectDefaultMetrics({ register: registry, prefix: 'tapestry_' })
  new Gauge({
    name: 'tapestry_build_info',
    help: 'Always 1: which build this is.',
    labelNames: ['version', 'node'],
    registers,
  }).set({ version: build.version, node: process.versions.node }, 1)
  return registry
}

/** The instruments of one serving process, in a registry of their own, with those of Node.js beside them. */
export function createInstruments(build: { readonly version: string }): Instruments {
  const registry = createRegistry(build)
  const registers = [registry]
  return {
    registry,
    calls: new Counter({
      name: 'tapestry_rpc_calls_total',
      help: 'gRPC calls that ended, by method and code (OK, or an error code of the protocol).',
      labelNames: ['method', 'code'],
      registers,
    }),
    callSeconds: new Histogram({
      name: 'tapestry_rpc_duration_seconds',
      help: 'How long gRPC calls took; streams to the caller are left out.',
      labelNames: ['method'],
      buckets: CALL_BUCKETS,
      registers,
    }),
    openStreams: new Gauge({
      name: 'tapestry_rpc_open_streams',
      help: 'gRPC streams that are open now.',
      labelNames: ['method'],
      registers,
    }),
    callBytes: new Counter({
      name: 'tapestry_rpc_message_bytes_total',
      help: 'Bytes of gRPC messages, without framing.',
      labelNames: ['direction'],
      registers,
    }),
    transfers: new Counter({
      name: 'tapestry_transfer_requests_total',
      help: 'HTTPS requests for artifacts and for the log that ended.',
      labelNames: ['method', 'status'],
      registers,
    }),
    transferBytes: new Counter({
      name: 'tapestry_transfer_bytes_total',
      help: 'Bytes that HTTPS requests moved, headers included.',
      labelNames: ['direction'],
      registers,
    }),
  }
}
