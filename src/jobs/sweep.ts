import { setTimeout as delay } from 'node:timers/promises'
import type { Context } from '../context.ts'
import { advanceRound } from '../store/advance.ts'
import type { JobRow } from '../store/job-row.ts'
import type { RoundRow } from '../store/records.ts'
import { collectGarbage } from './collect-garbage.ts'
import { abandonRevocation } from './revoke.ts'

/** A round is late by this much at most. */
const EVERY_MS = 1_000
/** Garbage is a day old before it goes: an hour more does no harm. */
const GARBAGE_EVERY_MS = 3_600_000
/** What one sweep leaves over the next one finds. */
const ROUNDS_PER_SWEEP = 200
const JOBS_PER_SWEEP = 1_000

export type SweeperOptions = { readonly signal: AbortSignal; readonly everyMs?: number }

/**
 * Lets time pass for rounds, finds the jobs that nobody was woken for, and numbers the log's entries that nobody
 * has asked for. Stateless: several sweepers at once, or one that was dead for a day, give the same rounds.
 * @param wake sends a job id to the workers; see WakeQueue.
 * @returns a promise that resolves when the sweeper has ended. It never rejects.
 */
export function startSweeper(
  context: Context,
  wake: (jobId: string) => void,
  options: SweeperOptions,
): { readonly stopped: Promise<void> } {
  return { stopped: run(context, wake, options) }
}

async function run(context: Context, wake: (jobId: string) => void, options: SweeperOptions): Promise<void> {
  const unlisten = await listen(context, wake)
  let tidyAt = context.clock.now() + GARBAGE_EVERY_MS
  while (!options.signal.aborted) {
    await sweep(context, wake)
    if (context.clock.now() >= tidyAt) {
      void tidy(context)
      tidyAt = context.clock.now() + GARBAGE_EVERY_MS
    }
    await delay(options.everyMs ?? EVERY_MS, undefined, { signal: options.signal }).catch(() => {})
  }
  await unlisten().catch(() => {})
}

/** Notices make a wake immediate; without them the sweep is late by a second. */
async function listen(context: Context, wake: (jobId: string) => void): Promise<() => Promise<void>> {
  try {
    return await context.store.listen((notice) => {
      if (notice.kind === 'job') wake(notice.id)
    })
  } catch (error) {
    context.log.warn({ err: error }, 'no notices from the database: jobs are found by sweeping')
    return async () => {}
  }
}

/** One sweep. Never rejects: what fails is logged, and the next sweep tries again. */
export async function sweep(context: Context, wake: (jobId: string) => void): Promise<void> {
  try {
    const now = context.clock.now()
    for (const round of await context.store.reader.roundsPastDeadline(now, ROUNDS_PER_SWEEP))
      await timeOut(context, round)
    for (const job of await context.store.reader.jobsToGiveUp(now, JOBS_PER_SWEEP)) await giveUp(context, job)
    // A leased job is woken too: its worker may be dead, and only leasing it tells.
    const jobs = await context.store.reader.jobs({ states: ['ready', 'leased'], limit: JOBS_PER_SWEEP })
    for (const { id } of jobs) wake(id)
    await context.store.numberEntries()
  } catch (error) {
    context.log.warn({ err: error }, 'a sweep failed')
  }
}

/** Never rejects: what was left over goes the next time. */
async function tidy(context: Context): Promise<void> {
  try {
    const { deleted } = await collectGarbage(context)
    if (deleted.blobs > 0) context.log.info(deleted, 'blobs that nothing referred to are deleted')
  } catch (error) {
    context.log.warn({ err: error }, 'unreferenced blobs could not be deleted')
  }
}

/** Each round in a transaction of its own, so that one that cannot move holds up no other. */
async function timeOut(context: Context, { key }: RoundRow): Promise<void> {
  try {
    await context.store.transact('pass-time', (tx) =>
      advanceRound(tx, key, { type: 'time-passed' }, context.clock.now()),
    )
  } catch (error) {
    context.log.warn({ run: key.run, round: key.number, err: error }, 'a round past its deadline did not move')
  }
}

/** No operator asked again for an abandoned job: its round fails, and a run that goes on by itself goes on. */
async function giveUp(context: Context, { id, kind, key, lastError }: JobRow): Promise<void> {
  try {
    await context.store.transact('give-up-job', async (tx) => {
      const now = context.clock.now()
      if (!(await tx.giveUpJob(id, now))) return
      const reason = `${kind} was given up: ${lastError}`
      if (kind === 'revoke') await abandonRevocation(tx, key, reason, now)
      else await advanceRound(tx, key, { type: 'work-abandoned', reason }, now)
    })
  } catch (error) {
    context.log.warn({ job: id, err: error }, 'an abandoned job could not be given up')
  }
}
