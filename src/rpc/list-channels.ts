import type { Context } from '../context.ts'

/** Channels and where each points. */
export async function listChannels(context: Context) {
  const rows = await context.store.reader.channels()
  const channels = rows.map((row) => ({
    name: row.name,
    checkpointDigest: row.checkpoint,
    version: row.version,
    run: row.run,
    updatedMs: BigInt(row.updatedAt),
  }))
  return { channels }
}
