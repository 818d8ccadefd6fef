import { generateKeyPairSync } from 'node:crypto'
import type { Context } from '../../src/context.ts'
import type { Digest } from '../../src/core/digest.ts'
import { type LedgerEntry, parseEntry } from '../../src/ledger/entry.ts'
import { logSigner } from '../../src/ledger/log-record.ts'
import { GrowingTree, leafHash } from '../../src/ledger/merkle.ts'
import { PublicLog } from '../../src/store/public-log.ts'
import type { RoundRow } from '../../src/store/records.ts'

const { privateKey } = generateKeyPairSync('ed25519')

/** The log as one activity of a simulated process shows it. */
export function publicLog({ store, federation }: Context): PublicLog {
  return new PublicLog(store, logSigner(federation, privateKey, privateKey))
}

/** The log says once, and only, what the store says, and its tree is that of its entries. */
export async function ledgerViolations({ store }: Context, rounds: readonly RoundRow[]): Promise<string[]> {
  await store.numberEntries()
  const head = await store.reader.ledgerHead()
  const tree = new GrowingTree()
  const entries: LedgerEntry[] = []
  for (const bytes of await store.reader.ledgerEntries(0, head.size + 1)) {
    tree.append(leafHash(bytes))
    entries.push(parseEntry(bytes))
  }
  const found = tree.root.equals(head.root) ? [] : ['the root of the log is not that of its entries']
  const stored: Digest[] = []
  for (const { key } of rounds) stored.push(...(await store.reader.contributions(key)).map(({ id }) => id))
  const released = (await store.reader.checkpoints({ limit: 1000 })).map(({ digest }) => digest)
  const logged = entries.flatMap((entry) => (entry.type === 'contribution' ? [entry.contribution] : []))
  const releases = entries.flatMap((entry) => (entry.type === 'release' ? [entry.checkpoint] : []))
  if (!sameItems(stored, logged)) found.push(`${stored.length} contributions, ${logged.length} in the log`)
  if (!sameItems(released, releases)) found.push(`${released.length} checkpoints, ${releases.length} in the log`)
  return found
}

function sameItems(one: readonly string[], other: readonly string[]): boolean {
  return [...one].sort().join() === [...other].sort().join()
}
