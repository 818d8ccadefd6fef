import type { Context } from '../context.ts'
import type { RevocationRow } from '../store/checkpoint-row.ts'
import { policyMessage } from './run-policy.ts'

/** Every run with its policy. */
export async function listRuns(context: Context) {
  const { reader } = context.store
  const rows = await reader.runs()
  const newest = await Promise.all(rows.map(async ({ id }) => (await reader.revocations({ run: id, limit: 1 }))[0]))
  const runs = rows.map((row, index) => ({
    id: row.id,
    planDigest: row.planDigest,
    channel: row.channel,
    policy: policyMessage(row.policy),
    roundsStarted: row.roundsStarted,
    createdMs: BigInt(row.createdAt),
    uncounted: row.uncounted,
    revocation: inWords(newest[index]),
  }))
  return { runs }
}

function inWords(revocation: RevocationRow | undefined): string {
  return revocation === undefined ? '' : `${revocation.key.number} ${revocation.state.phase}`
}
