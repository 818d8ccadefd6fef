import type { LedgerHash, LedgerPending, PrismaClient } from '../gen/prisma/client.ts'
import { GrowingTree, leafHash } from '../ledger/merkle.ts'
import { TILE_HEIGHT } from '../ledger/tile.ts'
import type { Database } from './database.ts'
import { faultOf } from './fault.ts'

/** Entries that one transaction numbers: some 24 MiB when all of them are as long as can be. */
const MOST_ENTRIES = 500
/** The lock on the head is what orders the entries, so each statement has to see what was committed before it. */
const OPTIONS = { isolationLevel: 'ReadCommitted', maxWait: 15_000, timeout: 30_000 } as const

/**
 * Gives the entries that wait their numbers: one transaction at a time among all processes, by a lock on the tree's head,
 * and few statements for all that wait. Those who call while it is under way share the next one.
 */
export class Numberer {
  readonly #client: PrismaClient
  #current: Promise<void> = Promise.resolve()
  #next: Promise<void> | undefined

  constructor(client: PrismaClient) {
    this.#client = client
  }

  /** @throws TapestryError UNAVAILABLE, INTERNAL: the entries go on waiting. */
  run(): Promise<void> {
    this.#next ??= this.#current.then(() => {
      this.#next = undefined
      const running = this.#numberAll()
      this.#current = running.catch(() => undefined)
      return running
    })
    return this.#next
  }

  async #numberAll(): Promise<void> {
    try {
      if ((await this.#client.ledgerPending.findFirst({ select: { id: true } })) === null) return
      while ((await this.#client.$transaction(numberSome, OPTIONS)) === MOST_ENTRIES);
    } catch (thrown) {
      throw faultOf(thrown).error
    }
  }
}

/** @returns how many entries it found waiting. */
async function numberSome(database: Database): Promise<number> {
  const tree = await lockTree(database)
  const pending = await takePending(database)
  if (pending.length === 0) return 0
  const first = tree.size
  const hashes = growTree(tree, pending)
  const entries = pending.map(({ subject, document }, at) => ({ index: BigInt(first + at), subject, document }))
  await database.ledgerEntry.createMany({ data: entries })
  await database.ledgerHash.createMany({ data: hashes })
  await database.$executeRaw`UPDATE ledger_head SET size = ${BigInt(tree.size)}, frontier = ${tree.frontier} WHERE id = 1`
  return pending.length
}

async function takePending(database: Database): Promise<LedgerPending[]> {
  const taken = await database.$queryRaw<LedgerPending[]>`
    DELETE FROM ledger_pending WHERE id IN (SELECT id FROM ledger_pending ORDER BY id LIMIT ${MOST_ENTRIES})
    RETURNING id, subject, document`
  return taken.sort((a, b) => (a.id < b.id ? -1 : 1))
}

type HeadColumns = { readonly size: bigint; readonly frontier: Uint8Array }

async function lockTree(database: Database): Promise<GrowingTree> {
  const rows = await database.$queryRaw<HeadColumns[]>`SELECT size, frontier FROM ledger_head WHERE id = 1 FOR UPDATE`
  const [head] = rows
  if (head === undefined) throw new Error('ledger_head has no row')
  return new GrowingTree(Number(head.size), head.frontier)
}

/** @returns the hashes that tiles need. */
function growTree(tree: GrowingTree, entries: readonly LedgerPending[]): LedgerHash[] {
  const hashes: LedgerHash[] = []
  for (const { document } of entries) {
    tree.append(leafHash(Buffer.from(document, 'utf8')), (height, index, hash) => {
      if (height % TILE_HEIGHT !== 0) return
      hashes.push({ level: height / TILE_HEIGHT, index: BigInt(index), hash: new Uint8Array(hash) })
    })
  }
  return hashes
}
