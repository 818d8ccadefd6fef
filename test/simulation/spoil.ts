import type { Context } from '../../src/context.ts'
import type { Digest } from '../../src/core/digest.ts'
import type { LedgerEvent } from '../../src/ledger/entry.ts'
import type { BlobStore } from '../../src/store/blob-store.ts'
import type { Tx } from '../../src/store/store.ts'

/** A coordinator that does something wrong, and nothing else. */
export type Spoil = (context: Context) => Context

export const NOTHING_WRONG: Spoil = (context) => context

/** What a simulation has to notice. */
export const SPOILS: Readonly<Record<string, Spoil>> = {
  'forgets a contribution that it accepted': writing(() => ({ createContributions: async () => {} })),
  'leaves contributions out of the log': writing((tx) => ({
    appendToLedger: (events, now) =>
      tx.appendToLedger(
        listOf(events).filter(({ type }) => type !== 'contribution'),
        now,
      ),
  })),
  'logs everything twice': writing((tx) => ({
    appendToLedger: (events, now) => tx.appendToLedger([...listOf(events), ...listOf(events)], now),
  })),
  'merges one contribution in place of another': mergeOneForAll,
  'does not note whose contribution it accepted': writing((tx) => ({
    setStanding: async (key, nodes, standing) => {
      if (standing !== 'accepted') await tx.setStanding(key, nodes, standing)
    },
  })),
}

function listOf(events: LedgerEvent | readonly LedgerEvent[]): readonly LedgerEvent[] {
  return 'type' in events ? [events] : events
}

function writing(changed: (tx: Tx) => Partial<Tx>): Spoil {
  return ({ store, ...context }) => ({
    ...context,
    store: {
      ...store,
      transact: (name, work, isolation) => store.transact(name, (tx) => work({ ...tx, ...changed(tx) }), isolation),
    },
  })
}

/** The first counts as often as there are contributions, the others not at all. */
function mergeOneForAll(context: Context): Context {
  const payloads: Digest[] = []
  const noting = writing((tx) => ({
    createContributions: async (rows) => {
      payloads.push(...rows.map(({ payload }) => payload))
      await tx.createContributions(rows)
    },
  }))
  const localPath = (digest: Digest) => {
    const [first = digest] = payloads
    return context.blobs.localPath(payloads.includes(digest) ? first : digest)
  }
  const blobs = new Proxy(context.blobs, {
    get(target, name: keyof BlobStore) {
      return name === 'localPath' ? localPath : target[name].bind(target)
    },
  })
  return { ...noting(context), blobs }
}
