import { X509Certificate } from 'node:crypto'
import type { RequestListener } from 'node:http'
import { TapestryError } from '../core/error.ts'
import type { PublicLog } from '../store/public-log.ts'
import { type CallWatch, watchCalls } from '../telemetry/calls.ts'
import { Gauges, type Vitals } from '../telemetry/gauges.ts'
import { createInstruments, type Instruments } from '../telemetry/instruments.ts'
import { inLogScope } from '../telemetry/log-scope.ts'
import { type Monitor, openMonitor } from '../telemetry/monitor.ts'
import { keepReadiness, type ReadinessChecks, type ReadinessKeeper } from '../telemetry/readiness.ts'
import { openTracer, type Tracer } from '../telemetry/tracer.ts'
import { type TransferWatch, watchTransfers } from '../telemetry/transfers.ts'
import type { CoordinatorOptions, CoordinatorParts } from './coordinator-parts.ts'
import { monitorAddress } from './monitor-address.ts'
import { commonChecks, degradingChecks } from './readiness-checks.ts'
import { version } from './version.ts'

/** Summing the blobs reads every name, and nobody watches them by the second. */
const BLOB_USAGE_MS = 60_000

/** What counts and traces what a coordinator does. */
export type CoordinatorWatch = {
  readonly instruments: Instruments
  readonly tracer: Tracer
  readonly calls: CallWatch
  readonly transfer: TransferWatch
  /** A handler whose requests are watched. */
  transfers(handler: RequestListener): RequestListener
}

export async function watchCoordinator(env: CoordinatorOptions['env']): Promise<CoordinatorWatch> {
  const instruments = createInstruments({ version: version() })
  const tracer = await openTracer(env, 'tapestry-coordinator', version())
  const transfer = watchTransfers(instruments, tracer)
  return {
    instruments,
    tracer,
    calls: watchCalls(instruments, tracer),
    transfer,
    transfers: (handler) => (request, response) => {
      inLogScope({ requestId: transfer(request, response) }, () => handler(request, response))
    },
  }
}

export type CoordinatorMonitor = {
  /** `host:port` of /metrics, /healthz and /readyz; undefined when nobody is to watch. */
  readonly address: string | undefined
  /** From now on the coordinator is not ready. */
  drain(): void
  close(): Promise<void>
}

/**
 * Keeps the coordinator's readiness and shows it, with its numbers, to whoever watches.
 * @param onReady called with the first finding and with every change.
 * @throws TapestryError PORT_IN_USE for an address that was asked for.
 */
export async function monitorCoordinator(
  parts: CoordinatorParts,
  { instruments }: CoordinatorWatch,
  log: PublicLog,
  serving: { readonly port: number; readonly certificate: () => string },
  onReady: (ready: boolean) => void,
): Promise<CoordinatorMonitor> {
  const { log: logger } = parts.context
  const keeper = keepReadiness(await checksOf(parts, log), 'the coordinator', ({ ready, findings }) => {
    onReady(ready)
    const problems = findings.filter(({ problem }) => problem)
    if (problems.length === 0) logger.info('the coordinator is ready')
    else logger.warn({ findings: problems }, `the coordinator is ${ready ? 'ready, but degraded' : 'not ready'}`)
  })
  await keeper.now()
  const vitals = vitalsOf(parts, keeper, serving.certificate)
  const gauges = new Gauges(instruments.registry)
  const metrics = async () => gauges.show(await vitals())
  const listener = await listenFor(parts, serving.port, { metrics, readiness: () => keeper.now() })
  const address = listener && `${listener.host.includes(':') ? `[${listener.host}]` : listener.host}:${listener.port}`
  return {
    address,
    drain: () => keeper.close(),
    async close() {
      keeper.close()
      await listener?.close()
    },
  }
}

/** What this coordinator cannot serve without, and what it only serves worse without. */
async function checksOf(parts: CoordinatorParts, log: PublicLog): Promise<ReadinessChecks> {
  const { context } = parts
  const common = await commonChecks(parts, context.config.minFreeBytes)
  return {
    needed: { ...common, log: async () => void (await log.checkpoint()) },
    degrading: degradingChecks(context),
  }
}

function vitalsOf(parts: CoordinatorParts, keeper: ReadinessKeeper, certificate: () => string): () => Promise<Vitals> {
  const { store, clock, config, freeBytes } = parts.context
  const usage = remembered(parts.storage.usage, BLOB_USAGE_MS)
  const orUndefined = <T>(work: Promise<T>) => work.catch(() => undefined)
  const end = (pem: string) => Date.parse(new X509Certificate(pem).validTo)
  return async () => {
    const [census, free, blobs, readiness] = await Promise.all([
      orUndefined(store.reader.census(clock.now())),
      orUndefined(freeBytes()),
      orUndefined(usage(clock.now())),
      keeper.now(),
    ])
    return {
      census,
      pool: store.pool(),
      disk: free === undefined ? undefined : { freeBytes: free, leastBytes: config.minFreeBytes },
      blobs,
      readiness,
      certificates: { server: end(certificate()), authority: end(parts.secrets.authority.certificate) },
    }
  }
}

/** Asks again only when the last answer is older than `forMs`. */
function remembered<T>(ask: () => Promise<T>, forMs: number): (now: number) => Promise<T> {
  let last: { readonly at: number; readonly answer: Promise<T> } | undefined
  return (now) => {
    if (last === undefined || now - last.at >= forMs) last = { at: now, answer: ask() }
    return last.answer
  }
}

type Shown = Pick<Parameters<typeof openMonitor>[0], 'metrics' | 'readiness'>

/** Where the operator said; otherwise on this machine only, at the port after the coordinator's or, if that is taken, any. */
async function listenFor({ context }: CoordinatorParts, port: number, shown: Shown): Promise<Monitor | undefined> {
  const { config, log } = context
  if (config.metricsAddress === 'none') return undefined
  if (config.metricsAddress !== undefined)
    return openMonitor({ ...monitorAddress(config.metricsAddress), ...shown, log })
  const next = config.port === 0 || port === 65_535 ? 0 : port + 1
  const usual = { host: '127.0.0.1', port: next, ...shown, log }
  return openMonitor(usual).catch((error) => {
    if (next === 0 || !(error instanceof TapestryError) || error.code !== 'PORT_IN_USE') throw error
    log.warn({ port: next }, 'the port for metrics is taken: another is used')
    return openMonitor({ ...usual, port: 0 })
  })
}
