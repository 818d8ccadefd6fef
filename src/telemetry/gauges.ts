import { Counter, Gauge, type Registry } from 'prom-client'
import type { Millis } from '../core/clock.ts'
import type { Census } from '../store/records.ts'
import type { PoolUse } from '../store/store.ts'
import type { Readiness } from './readiness.ts'

/** What a coordinator looks like at a moment. A part that could not be read is undefined: its numbers are not shown. */
export type Vitals = {
  readonly census: Census | undefined
  readonly pool: PoolUse
  readonly disk: { readonly freeBytes: number; readonly leastBytes: number } | undefined
  readonly blobs: { readonly count: number; readonly bytes: number } | undefined
  readonly readiness: Readiness
  /** When each of the coordinator's certificates ends, by its name. */
  readonly certificates: Readonly<Record<string, Millis>>
}

/** What is read when somebody asks. Everything is forgotten first, so that nothing old is shown. */
export class Gauges {
  readonly #registry: Registry
  readonly #all: (Gauge | Counter)[] = []
  readonly #rounds = this.#gauge('rounds', 'Rounds by phase.', 'phase')
  readonly #overdue = this.#gauge('rounds_overdue', 'Live rounds that are a minute past their deadline.')
  readonly #nodes = this.#gauge('nodes', 'Enrolled nodes by status.', 'status')
  readonly #jobs = this.#gauge('jobs', 'Jobs by kind and state.', 'kind', 'state')
  readonly #oldestJob = this.#gauge('job_oldest_seconds', 'Age of the oldest job that is not done.')
  readonly #contributions = this.#counter('contributions_total', 'Updates by outcome and reason.', 'outcome', 'reason')
  readonly #checkpoints = this.#gauge('checkpoints', 'Released checkpoints.')
  readonly #logEntries = this.#gauge('log_entries', 'Entries of the public log.')
  readonly #pending = this.#gauge('log_pending_entries', 'Committed entries of the log that have no number yet.')
  readonly #databaseUp = this.#gauge('database_up', '1 when the database answered.')
  readonly #pool = this.#gauge('database_pool_connections', 'Connections of the pool, by state.', 'state')
  readonly #waiting = this.#gauge('database_pool_waiting', 'Callers that wait for a connection.')
  readonly #free = this.#gauge('disk_free_bytes', 'Bytes that may still be written where the blobs are kept.')
  readonly #least = this.#gauge('disk_watermark_bytes', 'Free bytes below which uploads are refused.')
  readonly #blobs = this.#gauge('blobs', 'Whole blobs.')
  readonly #blobBytes = this.#gauge('blob_bytes', 'Bytes of whole blobs.')
  readonly #ready = this.#gauge('ready', '1 when every readiness check holds.')
  readonly #checks = this.#gauge('readiness_check', '1 when the readiness check holds.', 'check')
  readonly #ends = this.#gauge('certificate_end_seconds', 'When a certificate ends, Unix time.', 'certificate')

  constructor(registry: Registry) {
    this.#registry = registry
    for (const metric of this.#all) registry.registerMetric(metric)
  }

  /** Shows the vitals in the registry. */
  async show({ census, pool, disk, blobs, readiness, certificates }: Vitals): Promise<string> {
    for (const metric of this.#all) metric.reset()
    this.#databaseUp.set(census === undefined ? 0 : 1)
    if (census !== undefined) this.#showCensus(census)
    this.#pool.set({ state: 'busy' }, pool.open - pool.idle)
    this.#pool.set({ state: 'idle' }, pool.idle)
    this.#waiting.set(pool.waiting)
    if (disk !== undefined) {
      this.#free.set(disk.freeBytes)
      this.#least.set(disk.leastBytes)
    }
    if (blobs !== undefined) {
      this.#blobs.set(blobs.count)
      this.#blobBytes.set(blobs.bytes)
    }
    this.#ready.set(readiness.ready ? 1 : 0)
    for (const { check, problem } of readiness.findings) this.#checks.set({ check }, problem === undefined ? 1 : 0)
    for (const [certificate, end] of Object.entries(certificates)) this.#ends.set({ certificate }, end / 1000)
    return this.#registry.metrics()
  }

  #showCensus(census: Census): void {
    for (const [phase, count] of census.rounds) this.#rounds.set({ phase }, count)
    this.#overdue.set(census.overdueRounds)
    for (const [status, count] of census.nodes) this.#nodes.set({ status }, count)
    for (const { kind, state, count } of census.jobs) this.#jobs.set({ kind, state }, count)
    this.#oldestJob.set(census.oldestJobSeconds)
    this.#contributions.inc({ outcome: 'accepted', reason: '' }, census.accepted)
    for (const [reason, count] of census.refused) this.#contributions.inc({ outcome: 'refused', reason }, count)
    this.#checkpoints.set(census.checkpoints)
    this.#logEntries.set(census.logEntries)
    this.#pending.set(census.pendingEntries)
  }

  #gauge(name: string, help: string, ...labelNames: string[]): Gauge {
    const gauge = new Gauge({ name: `tapestry_${name}`, help, labelNames, registers: [] })
    this.#all.push(gauge)
    return gauge
  }

  #counter(name: string, help: string, ...labelNames: string[]): Counter {
    const counter = new Counter({ name: `tapestry_${name}`, help, labelNames, registers: [] })
    this.#all.push(counter)
    return counter
  }
}
