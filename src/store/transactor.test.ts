import { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { digest, NOW, nodeId, POLICY, ROUND, RUN, seed, testStore } from '../../test/store-rows.ts'
import { TapestryError } from '../core/error.ts'
import { step } from '../round/step.ts'
import { openStore } from './prisma-store.ts'
import type { Notice, Store } from './store.ts'

const NODES = 40

let store: Store
let other: Store
let url: string
let close: () => Promise<void>

beforeAll(async () => {
  const opened = await testStore()
  store = opened.store
  url = opened.url
  close = opened.close
  other = await openStore({ url })
  await seed(store, NODES)
})

afterAll(async () => {
  await other.close()
  await close()
})

/** Joins a round as the coordinator does: read, step, compare and set. */
function join(through: Store, index: number): Promise<void> {
  return through.transact('join-round', async (tx) => {
    const row = await tx.round(ROUND)
    if (row === undefined) throw new TapestryError('NOT_FOUND', 'no round')
    const next = step(row.round, { type: 'node-joined' }, NOW)
    await tx.addToRoster(ROUND, [nodeId(index)], NOW)
    await tx.saveRound(row, next.round, next.work, NOW)
  })
}

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 5))
}

describe('transact', () => {
  it('loses no step when many nodes join at once through two coordinators', async () => {
    await store.transact('widen', async (tx) => {
      const row = await tx.round(ROUND)
      if (row?.round.phase !== 'open') throw new Error('not open')
      await tx.saveRound(row, { ...row.round, policy: { ...POLICY, target: 1000 } }, [], NOW)
    })
    await Promise.all(Array.from({ length: NODES }, (_, index) => join(index % 2 === 0 ? store : other, index)))
    const row = await store.reader.round(ROUND)
    expect(row?.round).toMatchObject({ phase: 'open', joined: NODES })
    expect(row?.version).toBe(2 + NODES)
    expect(await store.reader.roster(ROUND)).toHaveLength(NODES)
  })

  it('undoes everything when the work throws, and passes its error on', async () => {
    const work = store.transact('give-up', async (tx) => {
      await tx.setRunHead(RUN, digest('never'))
      throw new TapestryError('FAILED_PRECONDITION', 'no')
    })
    await expect(work).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' })
    expect((await store.reader.run(RUN))?.head).toBe(digest('base'))
  })

  it('is serializable: two that read what the other writes do not both win', async () => {
    const swap = (reads: string, writes: string) => (through: Store) =>
      through.transact(`write-${writes}`, async (tx) => {
        if ((await tx.upload(digest(reads))) !== undefined) return false
        await tx.putUploads([{ digest: digest(writes), size: 1, node: nodeId(0), createdAt: NOW }])
        return true
      })
    const won = await Promise.all([swap('x', 'y')(store), swap('y', 'x')(other)])
    expect(won.filter(Boolean)).toHaveLength(1)
  })

  it('runs again when transactions lock the same rows in opposite orders', async () => {
    const cross = (first: number, second: number) =>
      store.transact(`cross-${first}`, async (tx) => {
        await tx.setNodeStatus(nodeId(first), 'active', null, NOW)
        await tx.setNodeStatus(nodeId(second), 'active', null, NOW)
        return first
      })
    const done = await Promise.all([cross(0, 1), cross(1, 0), cross(0, 1), cross(1, 0)])
    expect(done).toEqual([0, 1, 0, 1])
  })

  it('goes on after the server has cut every connection', async () => {
    const admin = new Client({ connectionString: url })
    await admin.connect()
    await admin.query(
      'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()',
    )
    await admin.end()
    await until(() => store.ready())
    await store.transact('after', (tx) => tx.setRunHead(RUN, digest('base')))
  })
})

describe('notices', () => {
  it('tell of committed changes only, to every process', async () => {
    const heard: Notice[] = []
    const stop = await other.listen((notice) => heard.push(notice))
    const rollback = store.transact('rollback', async (tx) => {
      await tx.createRound({ run: RUN, number: 7 }, openState(), NOW)
      throw new TapestryError('INTERNAL', 'undone')
    })
    await expect(rollback).rejects.toMatchObject({ code: 'INTERNAL' })
    await store.transact('open', (tx) => tx.createRound({ run: RUN, number: 8 }, openState(), NOW))
    await store.transact('seal', async (tx) => {
      const row = await tx.round({ run: RUN, number: 8 })
      if (row !== undefined) await tx.saveRound(row, row.round, ['aggregate'], NOW)
    })
    const key = { run: RUN, number: 8 }
    const expected = [
      { kind: 'round', key },
      { kind: 'round', key },
      { kind: 'job', id: `aggregate/${RUN}/8` },
    ]
    await until(() => heard.length >= expected.length)
    expect(heard).toEqual(expected)
    await stop()
  })

  it('flow again after the connection was lost, and pass over what is no notice', async () => {
    const heard: Notice[] = []
    const stop = await store.listen((notice) => heard.push(notice))
    const admin = new Client({ connectionString: url })
    await admin.connect()
    await admin.query(`SELECT pg_notify('tapestry', 'nonsense'), pg_notify('tapestry', '{"kind":"round","key":{}}')`)
    await admin.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'`,
    )
    await until(async () => {
      await admin.query(`SELECT pg_notify('tapestry', '{"kind":"job","id":"decide/r/1"}')`)
      return heard.length > 0
    })
    expect(heard[0]).toEqual({ kind: 'job', id: 'decide/r/1' })
    await admin.end()
    await stop()
  })
})

function openState() {
  return { phase: 'open', base: digest('b'), plan: digest('p'), policy: POLICY, joined: 0, deadline: NOW } as const
}
