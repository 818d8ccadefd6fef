import type { Millis } from '../core/clock.ts'
import { type Digest, digestOf } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import type { RoundKey } from '../core/ids.ts'
import type { LedgerEvent } from '../ledger/entry.ts'
import { type SignedSupersession, signSupersession } from '../model/supersession.ts'
import { unheldBlobs } from '../policy/blob-holder.ts'
import { outcomeOf, type RevocationEvent, stepRevocation } from '../round/revocation.ts'
import type { RevocationRow } from '../store/checkpoint-row.ts'
import type { Reader } from '../store/reader.ts'
import { tensorFiles } from '../store/revocation-plan.ts'
import type { Tx } from '../store/store.ts'
import { finish, type Task } from './task.ts'

/** What more refused candidates leave is for the collection of what nothing refers to. */
const MOST_ROUNDS = 10_000

/**
 * Does what a revocation still has to do: signs the notice, and, when its revision has ended or there was none, says
 * what replaces the superseded checkpoints and deletes what nothing needs any more. Every part may run twice.
 * @throws TapestryError NOT_FOUND for an unknown revocation
 */
export async function revoke(task: Task): Promise<void> {
  const { phase } = (await move(task, { type: 'work-resumed' })).state
  if (phase === 'announcing') await move(task, { type: 'notice-signed' })
  const row = await requireRevocation(task.context.store.reader, task.job.key)
  if (row.state.phase === 'deleting') return conclude(task, row)
  await task.context.store.transact('pause-revocation', (tx) => finish(tx, task.job, task.context.clock.now()))
}

/** Work on it was given up. */
export async function abandonRevocation(tx: Tx, key: RoundKey, reason: string, now: Millis): Promise<void> {
  const row = await requireRevocation(tx, key)
  await tx.saveRevocation({
    ...row,
    state: stepRevocation(row.state, { type: 'work-abandoned', reason }),
    updatedAt: now,
  })
}

async function requireRevocation(reader: Pick<Reader, 'revocation'>, key: RoundKey): Promise<RevocationRow> {
  const row = await reader.revocation(key)
  if (row !== undefined) return row
  throw new TapestryError('NOT_FOUND', `there is no revocation ${key.number} of run ${key.run}`)
}

/** Steps a revocation and signs what its notice now has to say. */
async function move(task: Task, event: RevocationEvent): Promise<RevocationRow> {
  const { context, job } = task
  const now = context.clock.now()
  return context.store.transact(`revocation-${event.type}`, async (tx) => {
    const row = await requireRevocation(tx, job.key)
    const state = stepRevocation(row.state, event)
    const moved = { ...row, state, notice: noticeOf(task, row), updatedAt: now }
    if (event.type === 'blobs-deleted') {
      await finish(tx, job, now)
      await tx.appendToLedger(doneEvent(moved), now)
    }
    await tx.saveRevocation(moved)
    return moved
  })
}

function noticeOf({ context, signer }: Task, { key, mode, plan, state }: RevocationRow): SignedSupersession | null {
  if (plan.superseded.length === 0) return null
  const outcome = outcomeOf(state)
  const replacement = outcome?.kind === 'reissued' ? outcome.checkpoint : null
  const { base, superseded } = plan
  const named = { federation: context.federation, run: key.run, revocation: key.number }
  return signSupersession({ ...named, mode, base, superseded, replacement }, signer.key)
}

/** Deletes first and records after: who dies in between finds nothing left to delete. */
async function conclude(task: Task, { plan, key }: RevocationRow): Promise<void> {
  const { store, blobs, log } = task.context
  const { reader } = store
  const payloads = await Promise.all(plan.contributions.map(async (id) => (await reader.contribution(id))?.payload))
  const tensors = (await tensorFiles(reader, plan.superseded)).map(([digest]) => digest)
  const refused = await refusedTensors(reader, key)
  const candidates = [...payloads, ...tensors, ...refused].filter((digest) => digest !== undefined && digest !== null)
  const deleted = unheldBlobs(candidates, await reader.blobHolders(candidates))
  for (const digest of deleted) await blobs.remove(digest)
  await move(task, { type: 'blobs-deleted' })
  log.info({ run: key.run, revocation: key.number, deleted: deleted.length }, 'a revocation is done')
}

/** Candidates that were refused, of rounds with a revoked contribution. */
async function refusedTensors(reader: Reader, { run, number }: RoundKey): Promise<(Digest | null)[]> {
  const rows = await reader.rounds({ run, phases: ['rejected'], limit: MOST_ROUNDS })
  const own = rows.filter(({ revocation }) => revocation === number)
  return own.flatMap(({ round }) => (round.phase === 'rejected' ? [round.candidate, round.optimizerState] : []))
}

function doneEvent({ key, state, notice }: RevocationRow): LedgerEvent {
  const outcome = outcomeOf(state)
  return {
    type: 'revocation-done',
    run: key.run,
    revocation: key.number,
    outcome: outcome?.kind ?? 'untouched',
    checkpoint: outcome?.kind === 'reissued' ? outcome.checkpoint : null,
    notice: notice === null ? null : digestOf(notice.text),
  }
}
