import type { Context } from '../context.ts'

/** Every node that has ever enrolled. */
export async function listNodes(context: Context) {
  const rows = await context.store.reader.nodes()
  const members = await context.store.reader.members()
  const jurisdictions = new Map(members.map(({ id, jurisdiction }) => [id, jurisdiction]))
  const nodes = rows.map((row) => ({
    id: row.id,
    name: row.name,
    member: row.member,
    status: row.status,
    enrolledMs: BigInt(row.enrolledAt),
    jurisdiction: jurisdictions.get(row.member) ?? '',
  }))
  return { nodes }
}
