import type { Context } from '../context.ts'
import { policyMessage } from './run-policy.ts'

/** Every run with its policy. */
export async function listRuns(context: Context) {
  const rows = await context.store.reader.runs()
  const runs = rows.map((row) => ({
    id: row.id,
    planDigest: row.planDigest,
    channel: row.channel,
    policy: policyMessage(row.policy),
    roundsStarted: row.roundsStarted,
    createdMs: BigInt(row.createdAt),
  }))
  return { runs }
}
