import type { Digest } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import type { Override } from '../model/override.ts'
import type { GateRecord } from '../policy/release.ts'
import { advanceRound, endLiveRound } from '../store/advance.ts'
import { type BuiltCheckpoint, recordCheckpoint } from '../store/publish.ts'
import type { RunRow } from '../store/records.ts'
import { buildRelease } from './build-release.ts'
import { finish, subjectOf, type Task } from './task.ts'

/**
 * Publishes a rejected candidate that enough operators have signed for, as the run's next checkpoint. When the run
 * has moved on from the candidate's base meanwhile, or a revocation took back what it holds, it does not. A round that was going
 * on from that base ends.
 * @throws TapestryError INTERNAL or NOT_FOUND when rows or blobs are missing; DISK_FULL.
 */
export async function override(task: Task): Promise<void> {
  const { context, job } = task
  const { reader } = context.store
  const { round, run } = await subjectOf(reader, job)
  if (round.round.phase !== 'rejected' || !round.round.overridden) return endOnly(task)
  const [record, proof] = await Promise.all([reader.gateRecord(job.key), reader.releaseOverride(job.key)])
  const built = await buildRelease(task, run, round.round, required(record), required(proof))
  await publish(task, run, round.round.base, built)
}

function required<T extends GateRecord | Override>(row: T | undefined): T {
  if (row === undefined) throw new TapestryError('INTERNAL', 'an override without a signature or a decision')
  return row
}

async function endOnly({ context, job }: Task): Promise<void> {
  await context.store.transact('end-override', (tx) => finish(tx, job, context.clock.now()))
}

/** The head moves before rounds do: one that opens in this transaction starts from it. */
async function publish({ context, job }: Task, run: RunRow, base: Digest, built: BuiltCheckpoint): Promise<void> {
  const { digest: checkpoint, version, createdAt: now } = built.row
  const published = await context.store.transact('publish-override', async (tx) => {
    await finish(tx, job, now)
    const takenBack = (await tx.round(job.key))?.revocation !== undefined
    if (takenBack || (await tx.run(run.id))?.head !== base) {
      await advanceRound(tx, job.key, { type: 'override-void' }, now)
      return false
    }
    await recordCheckpoint(tx, run, built, now)
    await advanceRound(tx, job.key, { type: 'checkpoint-published', checkpoint }, now)
    await endLiveRound(
      tx,
      run.id,
      `operators released the candidate of round ${job.key.number}: the base is another now`,
      now,
    )
    return true
  })
  if (published) context.log.info({ job: job.id, checkpoint, version }, 'published by override')
  else context.log.warn({ job: job.id }, 'an override came too late: the run has a later checkpoint')
}
