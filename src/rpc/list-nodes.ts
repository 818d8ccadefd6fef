import type { Context } from '../context.ts'

/** Every node that has ever enrolled. */
export async function listNodes(context: Context) {
  const rows = await context.store.reader.nodes()
  const nodes = rows.map((row) => ({
    id: row.id,
    name: row.name,
    member: row.member,
    status: row.status,
    enrolledMs: BigInt(row.enrolledAt),
  }))
  return { nodes }
}
