import type { Context } from '../../src/context.ts'
import type { Digest } from '../../src/core/digest.ts'
import type { BlobStore } from '../../src/store/blob-store.ts'
import type { Tx } from '../../src/store/store.ts'

/** A coordinator that does something wrong, and nothing else. */
export type Spoil = (context: Context) => Context

export const NOTHING_WRONG: Spoil = (context) => context

/** What a simulation has to notice. */
export const SPOILS: Readonly<Record<string, Spoil>> = {
  'forgets a contribution that it accepted': writing(() => ({ createContribution: async () => {} })),
  'leaves contributions out of the log': writing((tx) => ({
    appendToLedger: async (event, now) => {
      if (event.type !== 'contribution') await tx.appendToLedger(event, now)
    },
  })),
  'logs everything twice': writing((tx) => ({
    appendToLedger: async (event, now) => {
      await tx.appendToLedger(event, now)
      await tx.appendToLedger(event, now)
    },
  })),
  'merges one contribution in place of another': mergeOneForAll,
  'does not note whose contribution it accepted': writing((tx) => ({
    setStanding: async (key, node, standing) => {
      if (standing !== 'accepted') await tx.setStanding(key, node, standing)
    },
  })),
}

function writing(changed: (tx: Tx) => Partial<Tx>): Spoil {
  return ({ store, ...context }) => ({
    ...context,
    store: { ...store, transact: (name, work) => store.transact(name, (tx) => work({ ...tx, ...changed(tx) })) },
  })
}

/** The first counts as often as there are contributions, the others not at all. */
function mergeOneForAll(context: Context): Context {
  const payloads: Digest[] = []
  const noting = writing((tx) => ({
    createContribution: async (row) => {
      payloads.push(row.payload)
      await tx.createContribution(row)
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
