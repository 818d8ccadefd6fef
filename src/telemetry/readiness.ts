import { setTimeout as delay } from 'node:timers/promises'
import { toTapestryError } from '../core/error.ts'

/** One thing that must hold: throws when it does not. */
export type Check = () => Promise<void>
export type Checks = Readonly<Record<string, Check>>

/** What was found: `problem` is absent where all is well; `degrading` marks what the work goes on without. */
export type Finding = { readonly check: string; readonly problem?: string; readonly degrading?: true }
export type Readiness = { readonly ready: boolean; readonly findings: readonly Finding[] }

/** A check that does not answer has failed: load balancers wait no longer. */
const PATIENCE_MS = 5_000

/** What a process cannot work without, and what it only works worse without. */
export type ReadinessChecks = { readonly needed: Checks; readonly degrading: Checks }

/** Runs every check at once. Ready is who lacks nothing that is needed. Never rejects. */
export async function readinessOf(
  { needed, degrading }: ReadinessChecks,
  patienceMs = PATIENCE_MS,
): Promise<Readiness> {
  const runAll = (checks: Checks) =>
    Promise.all(Object.entries(checks).map(([check, run]) => find(check, run, patienceMs)))
  const [must, may] = await Promise.all([runAll(needed), runAll(degrading)])
  const findings = [...must, ...may.map((finding) => ({ ...finding, degrading: true as const }))]
  return { ready: must.every(({ problem }) => problem === undefined), findings }
}

async function find(check: string, run: Check, patienceMs: number): Promise<Finding> {
  const done = new AbortController()
  const late = delay(patienceMs, `no answer within ${patienceMs / 1000} s`, { signal: done.signal, ref: false })
  try {
    const problem = await Promise.race([run().then(() => undefined), late.catch(() => undefined)])
    return problem === undefined ? { check } : { check, problem }
  } catch (thrown) {
    // What is not ours may hold a connection string: it is not shown.
    const { code, message } = toTapestryError(thrown)
    return { check, problem: code === 'INTERNAL' ? 'it failed in an unexpected way' : message }
  } finally {
    done.abort()
  }
}

export type ReadinessKeeper = {
  /** Runs the checks now; callers that come meanwhile share the answer. */
  now(): Promise<Readiness>
  /** From now on it is never ready. */
  close(): void
}

/** How late a load balancer may learn of a change. */
const EVERY_MS = 5_000

/**
 * Runs the checks periodically and tells of changes.
 * @param what such as `the coordinator`: what is said to be stopping.
 * @param onChange called with the first answer, with each that differs from the one before, and on closing.
 */
export function keepReadiness(
  checks: ReadinessChecks,
  what: string,
  onChange: (readiness: Readiness) => void,
  everyMs = EVERY_MS,
): ReadinessKeeper {
  const stopping: Readiness = {
    ready: false,
    findings: [{ check: 'serving', problem: `${what} is stopping` }],
  }
  let told = ''
  let closed = false
  let running: Promise<Readiness> | undefined
  const tell = (readiness: Readiness) => {
    const text = JSON.stringify(readiness)
    if (text === told) return
    told = text
    onChange(readiness)
  }
  const run = async (): Promise<Readiness> => {
    const found = await readinessOf(checks)
    const readiness = closed ? stopping : found
    tell(readiness)
    return readiness
  }
  const now = () => {
    running ??= run().finally(() => {
      running = undefined
    })
    return running
  }
  const timer = setInterval(() => void now(), everyMs)
  timer.unref()
  return {
    now,
    close() {
      closed = true
      clearInterval(timer)
      tell(stopping)
    },
  }
}
