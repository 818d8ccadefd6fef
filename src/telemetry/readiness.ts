import { setTimeout as delay } from 'node:timers/promises'
import { toTapestryError } from '../core/error.ts'

/** One thing that must hold: throws when it does not. */
export type Check = () => Promise<void>
export type Checks = Readonly<Record<string, Check>>

/** What was found: `problem` is absent where all is well. */
export type Finding = { readonly check: string; readonly problem?: string }
export type Readiness = { readonly ready: boolean; readonly findings: readonly Finding[] }

/** A check that does not answer has failed: load balancers wait no longer. */
const PATIENCE_MS = 5_000

/** Runs every check at once. Never rejects. */
export async function readinessOf(checks: Checks, patienceMs = PATIENCE_MS): Promise<Readiness> {
  const findings = await Promise.all(Object.entries(checks).map(([check, run]) => find(check, run, patienceMs)))
  return { ready: findings.every(({ problem }) => problem === undefined), findings }
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
 * @param onChange called with the first answer, with each that differs from the one before, and on closing.
 */
export function keepReadiness(
  checks: Checks,
  onChange: (readiness: Readiness) => void,
  everyMs = EVERY_MS,
): ReadinessKeeper {
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
    const readiness = closed ? STOPPING : found
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
      tell(STOPPING)
    },
  }
}

const STOPPING: Readiness = { ready: false, findings: [{ check: 'serving', problem: 'the coordinator is stopping' }] }
