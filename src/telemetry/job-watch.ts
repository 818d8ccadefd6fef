import { Counter, Gauge, Histogram, type Registry } from 'prom-client'

/** How work on a job ended; `returned`: the worker stopped, and another takes it over. */
export type JobOutcome = 'done' | 'failed' | 'abandoned' | 'returned' | 'lost'

/** Begins to watch a job that was leased. @returns what is to be called once, when the worker is done with it. */
export type JobWatch = (kind: string) => (outcome: JobOutcome) => void

/** Counts nothing. */
export const UNWATCHED_JOBS: JobWatch = () => () => {}

/** Seconds: a decision is a few, the merge of a large model takes an hour. */
const JOB_BUCKETS = [0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14_400]

/** Counts and times the jobs of one worker. */
export function watchJobs(registry: Registry): JobWatch {
  const registers = [registry]
  const attempts = new Counter({
    name: 'tapestry_worker_attempts_total',
    help: 'Jobs that this worker took, by kind; a job that is tried again counts again.',
    labelNames: ['kind'],
    registers,
  })
  const ended = new Counter({
    name: 'tapestry_worker_jobs_total',
    help: 'Jobs that this worker took and is done with, by kind and outcome.',
    labelNames: ['kind', 'outcome'],
    registers,
  })
  const seconds = new Histogram({
    name: 'tapestry_worker_job_seconds',
    help: 'How long this worker had a job, by kind.',
    labelNames: ['kind'],
    buckets: JOB_BUCKETS,
    registers,
  })
  const busy = new Gauge({ name: 'tapestry_worker_busy', help: 'Jobs in hand now.', registers })
  return (kind) => {
    attempts.inc({ kind })
    busy.inc()
    const stop = seconds.startTimer({ kind })
    return (outcome) => {
      stop()
      busy.dec()
      ended.inc({ kind, outcome })
    }
  }
}
