import { Gauge } from 'prom-client'
import { createRegistry } from '../telemetry/instruments.ts'
import { type JobWatch, UNWATCHED_JOBS, watchJobs } from '../telemetry/job-watch.ts'
import { type Monitor, openMonitor } from '../telemetry/monitor.ts'
import { keepReadiness, type ReadinessKeeper } from '../telemetry/readiness.ts'
import type { CoordinatorParts } from './coordinator-parts.ts'
import { monitorAddress } from './monitor-address.ts'
import { commonChecks } from './readiness-checks.ts'
import { version } from './version.ts'

export type WorkerMonitor = {
  readonly jobs: JobWatch
  /** `host:port` of /metrics, /healthz and /readyz; undefined when nobody is to watch. */
  readonly address: string | undefined
  /** From now on the worker is not ready. */
  drain(): void
  close(): Promise<void>
}

/** Of a worker that nobody watches. */
const UNWATCHED: WorkerMonitor = { jobs: UNWATCHED_JOBS, address: undefined, drain() {}, async close() {} }

/**
 * Shows a worker's numbers and readiness to whoever watches.
 * @param at `host:port`; nobody watches when it is absent.
 * @throws TapestryError PORT_IN_USE, INVALID_ARGUMENT.
 */
export async function monitorWorker(parts: CoordinatorParts, at: string | undefined): Promise<WorkerMonitor> {
  if (at === undefined || at === 'none') return UNWATCHED
  const { log, config } = parts.context
  const registry = createRegistry({ version: version() })
  const checks = { needed: await commonChecks(parts, config.minMergeBytes), degrading: {} }
  const keeper = keepReadiness(checks, 'the worker', ({ ready, findings }) => {
    if (ready) log.info('the worker is ready')
    else log.warn({ findings: findings.filter(({ problem }) => problem) }, 'the worker is not ready')
  })
  const metrics = async () => {
    await keeper.now()
    return registry.metrics()
  }
  showReadiness(registry, keeper)
  const listener = await openMonitor({ ...monitorAddress(at), metrics, readiness: () => keeper.now(), log })
  return {
    jobs: watchJobs(registry),
    address: addressOf(listener),
    drain: () => keeper.close(),
    async close() {
      keeper.close()
      await listener.close()
    },
  }
}

function showReadiness(registry: ReturnType<typeof createRegistry>, keeper: ReadinessKeeper): void {
  new Gauge({
    name: 'tapestry_worker_ready',
    help: '1 when every readiness check of this worker holds.',
    registers: [registry],
    async collect() {
      this.set((await keeper.now()).ready ? 1 : 0)
    },
  })
}

function addressOf({ host, port }: Monitor): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`
}
