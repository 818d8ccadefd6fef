import type { Context } from '../context.ts'
import type { ListEntriesRequest } from '../gen/proto/tapestry/v1/ledger_pb.ts'
import { countOf, limitOf } from './message.ts'

/** At most 256 entries of 64 KiB: what a bundle holds. */
const MOST_ENTRIES = 256

/** Entries of the log in their order. */
export async function listEntries(context: Context, { start, limit }: ListEntriesRequest) {
  const most = limitOf(limit, MOST_ENTRIES, MOST_ENTRIES)
  return { entries: [...(await context.store.reader.ledgerEntries(countOf(start), most))] }
}
