import { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { digest, NOW, nodeId, RUN, testStore } from '../../test/store-rows.ts'
import { entryBytes, type LedgerEvent, parseEntry } from '../ledger/entry.ts'
import { GrowingTree, leafHash } from '../ledger/merkle.ts'
import { verifyConsistency, verifyInclusion } from '../ledger/proof.ts'
import { proveConsistency, proveInclusion } from '../ledger/tile.ts'
import { openStore } from './prisma-store.ts'
import type { Store } from './store.ts'

const withCode = (code: string) => expect.objectContaining({ code })

let store: Store
let url: string
let close: () => Promise<void>

beforeAll(async () => {
  ;({ store, url, close } = await testStore())
})

afterAll(() => close())

function contribution(name: string): LedgerEvent {
  const place = { node: nodeId(1), run: RUN, round: 1, base: digest('base'), payload: digest(name), bytes: 5 }
  return { type: 'contribution', contribution: digest(name), ...place }
}

async function everything(): Promise<Uint8Array[]> {
  const { size } = await store.reader.ledgerHead()
  const entries: Uint8Array[] = []
  while (entries.length < size) entries.push(...(await store.reader.ledgerEntries(entries.length, 256)))
  return entries
}

const indexOf = async (name: string) => (await store.reader.ledgerEntryAbout(digest(name)))?.index

describe('the log', () => {
  it('is empty at first', async () => {
    await store.numberEntries()
    expect(await store.reader.ledgerHead()).toEqual({ size: 0, root: new GrowingTree().root })
    expect(await store.reader.ledgerEntries(0, 10)).toEqual([])
    expect(await indexOf('nothing')).toBeUndefined()
  })

  it('gives entries of many connections consecutive numbers, each once', async () => {
    const replicas = await Promise.all([1, 2, 3].map(() => openStore({ url })))
    const names = Array.from({ length: 60 }, (_, index) => `concurrent ${index}`)
    try {
      await Promise.all(
        names.map(async (name, index) => {
          const replica = replicas[index % replicas.length] ?? store
          await replica.transact(`append ${index}`, (tx) => tx.appendToLedger(contribution(name), NOW + index))
          await replica.numberEntries()
          // Committed before it was numbered: it is in the log, whoever numbered it.
          expect((await replica.reader.ledgerEntryAbout(digest(name)))?.index).toBeGreaterThanOrEqual(0)
        }),
      )
    } finally {
      await Promise.all(replicas.map((replica) => replica.close()))
    }
    const entries = await everything()
    expect(entries).toHaveLength(names.length)
    const found = entries.map((bytes) => parseEntry(bytes)).map((entry) => 'payload' in entry && entry.payload)
    expect(new Set(found)).toEqual(new Set(names.map(digest)))
  })

  it('holds nothing of a transaction that was rolled back', async () => {
    const { size } = await store.reader.ledgerHead()
    const undone = store.transact('undone', async (tx) => {
      await tx.appendToLedger(contribution('undone'), NOW)
      throw new Error('on second thoughts')
    })
    await expect(undone).rejects.toThrow()
    await store.transact('done', (tx) => tx.appendToLedger(contribution('done'), NOW))
    await store.numberEntries()
    expect((await store.reader.ledgerHead()).size).toBe(size + 1)
    expect(await indexOf('undone')).toBeUndefined()
    expect(await indexOf('done')).toBe(size)
  })

  it('numbers what somebody else left waiting, in the order of arrival', async () => {
    const { size } = await store.reader.ledgerHead()
    for (const name of ['a', 'b', 'c']) {
      await store.transact('append', (tx) => tx.appendToLedger(contribution(`left ${name}`), NOW))
    }
    expect((await store.reader.ledgerHead()).size).toBe(size)
    await store.numberEntries()
    const indexes = await Promise.all(['a', 'b', 'c'].map((name) => indexOf(`left ${name}`)))
    expect(indexes).toEqual([size, size + 1, size + 2])
  })

  it('grows over several tiles in one go, and proves every entry and its own growth from what is stored', async () => {
    const before = await store.reader.ledgerHead()
    await store.transact('many', async (tx) => {
      for (let index = 0; index < 700; index++) await tx.appendToLedger(contribution(`many ${index}`), NOW)
    })
    await store.numberEntries()
    const head = await store.reader.ledgerHead()
    const entries = await everything()
    expect(entries).toHaveLength(before.size + 700)
    const tree = new GrowingTree()
    for (const entry of entries) tree.append(leafHash(entry))
    expect(head).toEqual({ size: tree.size, root: tree.root })
    for (const [index, entry] of entries.entries()) {
      if (index % 97 > 0 && index < head.size - 2) continue
      const proof = await proveInclusion(index, head.size, store.reader.ledgerHashes)
      expect(verifyInclusion(leafHash(entry), index, head, proof)).toBe(true)
    }
    const growth = await proveConsistency(before.size, head.size, store.reader.ledgerHashes)
    expect(verifyConsistency(before, head, growth)).toBe(true)
  })

  it('refuses an entry that is too long for a bundle', async () => {
    const long: LedgerEvent = {
      ...{ type: 'weights', run: RUN, round: 1, policy: 'p', inputs: digest('i'), candidate: digest('c') },
      part: { number: 1, of: 1 },
      weights: Array.from({ length: 400 }, () => ({ contribution: digest('x'), weight: 0.5, reason: 'r'.repeat(200) })),
    }
    expect(entryBytes(long, NOW).byteLength).toBeGreaterThan(65_535)
    const refused = store.transact('long', (tx) => tx.appendToLedger(long, NOW))
    await expect(refused).rejects.toThrow(withCode('INVALID_ARGUMENT'))
  })

  it('is bound to one key for ever', async () => {
    const bind = (key: string) => store.transact('bind', (tx) => tx.bindLedgerKey(key))
    expect(await bind('key')).toBe(true)
    expect(await bind('key')).toBe(false)
    await expect(bind('other')).rejects.toThrow(withCode('FAILED_PRECONDITION'))
  })

  it('cannot be changed by hand', async () => {
    const client = new Client({ connectionString: url })
    await client.connect()
    try {
      for (const statement of [
        `UPDATE ledger_entry SET document = '{}' WHERE "index" = 0`,
        'DELETE FROM ledger_entry WHERE "index" = 0',
        'TRUNCATE ledger_entry',
        `UPDATE ledger_hash SET hash = '\\x00'`,
        'DELETE FROM ledger_hash',
        'TRUNCATE ledger_hash',
      ]) {
        await expect(client.query(statement)).rejects.toThrow('append-only')
      }
    } finally {
      await client.end()
    }
  })
})
