import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  CHANNEL,
  checkpointRow,
  contributionRow,
  digest,
  languageReport,
  MEMBER,
  NOW,
  nodeId,
  POLICY,
  ROUND,
  RUN,
  runRow,
  seed,
  testStore,
} from '../../test/store-rows.ts'
import { ensureFederationId, ensureRunId } from '../core/ids.ts'
import { DEFAULT_INFLUENCE } from '../core/influence-choice.ts'
import { ensureLanguageTag } from '../core/language-tag.ts'
import { decideWeights } from '../policy/influence.ts'
import type { Round } from '../round/round.ts'
import { openStore } from './prisma-store.ts'
import type { EvaluationRow } from './records.ts'
import type { Store } from './store.ts'

let store: Store
let close: () => Promise<void>

beforeAll(async () => {
  const opened = await testStore()
  store = opened.store
  close = opened.close
  await seed(store, 3)
})

afterAll(() => close())

describe('members', () => {
  it('keeps one federation', async () => {
    const row = { name: 'demo', record: '{}', signature: 'c2ln', createdAt: NOW }
    const create = (text: string) =>
      store.transact('init', (tx) => tx.createFederation({ ...row, id: ensureFederationId(digest(text)) }))
    await create('authority')
    expect(await store.reader.federation()).toEqual({ ...row, id: digest('authority') })
    await expect(create('another')).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
  })

  it('redeems an invitation once', async () => {
    const row = { secretHash: 'ab'.repeat(32), member: MEMBER, expiresAt: NOW + 1000, usedBy: null }
    await store.transact('invite', async (tx) => {
      await tx.ensureMember(MEMBER, NOW)
      await tx.createInvitation(row, NOW)
    })
    expect(await store.transact('look', (tx) => tx.invitation(row.secretHash))).toEqual(row)
    const redeem = () => store.transact('enrol', (tx) => tx.useInvitation(row.secretHash, nodeId(0), NOW))
    const outcomes = await Promise.allSettled([redeem(), redeem(), redeem()])
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
    await expect(redeem()).rejects.toMatchObject({ code: 'INVITATION_USED' })
    expect(await store.transact('look', (tx) => tx.invitation(row.secretHash))).toEqual({ ...row, usedBy: nodeId(0) })
  })

  it('suspends nodes and lists them by id', async () => {
    await store.transact('suspend', (tx) => tx.setNodeStatus(nodeId(1), 'suspended', 'a reason', NOW))
    expect((await store.reader.nodes()).map(({ status }) => status)).toEqual(['active', 'suspended', 'active'])
    expect(await store.reader.node(nodeId(9))).toBeUndefined()
    const unknown = store.transact('suspend', (tx) => tx.setNodeStatus(nodeId(9), 'left', null, NOW))
    await expect(unknown).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })
})

describe('rounds', () => {
  it('keeps runs, and opens each round number once', async () => {
    expect(await store.reader.run(RUN)).toEqual(runRow())
    expect(await store.reader.runByPlan(digest('plan'))).toEqual(runRow())
    const advance = () => store.transact('open-round', (tx) => tx.advanceRun(RUN, 0))
    expect((await Promise.all([advance(), advance(), advance()])).filter(Boolean)).toHaveLength(1)
    await store.transact('head', (tx) => tx.setRunHead(RUN, digest('next')))
    expect(await store.reader.run(RUN)).toMatchObject({ roundsStarted: 1, head: digest('next') })
  })

  it('gives every phase back as it was written', async () => {
    const always = { base: digest('base'), plan: digest('plan'), policy: runRow().policy }
    const counted = { ...always, roster: 4, accepted: 2, refused: 1, declined: 1 }
    const merged = { ...counted, candidate: digest('candidate'), evaluated: 2 }
    const phases: readonly Round[] = [
      { ...counted, phase: 'collecting', deadline: NOW + 5 },
      { ...counted, phase: 'sealed' },
      { ...counted, phase: 'aggregating' },
      { ...merged, phase: 'evaluating', optimizerState: null, excused: 1, deciding: false, deadline: NOW + 7 },
      { ...merged, phase: 'published', checkpoint: digest('checkpoint') },
      { ...merged, phase: 'rejected', optimizerState: null, reason: 'worse', overridden: false },
      { ...counted, phase: 'failed', reason: 'late' },
    ]
    const key = { run: RUN, number: 2 }
    await store.transact('open', (tx) =>
      tx.createRound(key, { ...always, phase: 'open', joined: 0, deadline: NOW + 3 }, NOW),
    )
    for (const [index, next] of phases.entries()) {
      await store.transact('step', async (tx) => {
        const row = await tx.round(key)
        if (row !== undefined) await tx.saveRound(row, next, [], NOW + index)
      })
      const saved = await store.reader.round(key)
      expect(saved).toEqual({ key, round: next, version: index + 2, createdAt: NOW, updatedAt: NOW + index })
    }
  })

  it('finds rounds whose time is up, and none that waits for work', async () => {
    const past = async () => (await store.reader.roundsPastDeadline(NOW + 10 ** 9, 10)).map(({ key }) => key.number)
    expect(await past()).toEqual([1])
    expect(await store.reader.roundsPastDeadline(NOW, 10)).toEqual([])
    const key = { run: RUN, number: 3 }
    const counted = {
      base: digest('b'),
      plan: digest('p'),
      policy: runRow().policy,
      roster: 3,
      accepted: 2,
      refused: 1,
      declined: 0,
    }
    const evaluating = {
      ...counted,
      phase: 'evaluating',
      candidate: digest('c'),
      optimizerState: null,
      evaluated: 2,
      excused: 0,
      deadline: NOW,
    } as const
    await store.transact('open', (tx) => tx.createRound(key, { ...evaluating, deciding: false }, NOW + 1))
    expect(await past()).toEqual([3, 1])
    await store.transact('decide', async (tx) => {
      const row = await tx.round(key)
      if (row !== undefined) await tx.saveRound(row, { ...evaluating, deciding: true }, ['decide'], NOW)
    })
    expect(await past()).toEqual([1])
    expect((await store.reader.rounds({ limit: 2 })).map(({ key }) => key.number)).toEqual([3, 2])
    expect((await store.reader.rounds({ run: RUN, phases: ['open'], limit: 9 })).map(({ key }) => key.number)).toEqual([
      1,
    ])
    expect(await store.reader.rounds({ run: ensureRunId('none'), limit: 9 })).toEqual([])
  })

  it('gives up on a row that stays out of date', async () => {
    const row = await store.reader.round(ROUND)
    if (row === undefined) throw new Error('no round')
    const stale = { ...row, version: row.version + 40 }
    const save = store.transact('stale', (tx) => tx.saveRound(stale, row.round, [], NOW))
    await expect(save).rejects.toMatchObject({ code: 'UNAVAILABLE' })
  })

  it('keeps the roster', async () => {
    await store.transact('join', async (tx) => {
      for (const index of [2, 0]) await tx.addToRoster(ROUND, [nodeId(index)], NOW)
      await tx.setStanding(ROUND, [nodeId(2)], 'refused')
      await tx.setEvaluated(ROUND, nodeId(0))
    })
    expect(await store.reader.roster(ROUND)).toEqual([
      { node: nodeId(0), standing: 'joined', evaluated: true, declined: false },
      { node: nodeId(2), standing: 'refused', evaluated: false, declined: false },
    ])
    expect(await store.reader.rosterEntry(ROUND, nodeId(1))).toBeUndefined()
    const again = store.transact('join', (tx) => tx.addToRoster(ROUND, [nodeId(2)], NOW))
    await expect(again).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
    const nowhere = store.transact('join', (tx) => tx.addToRoster({ run: RUN, number: 99 }, [nodeId(2)], NOW))
    await expect(nowhere).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })
})

describe('submissions', () => {
  const quechua = languageReport({ language: ensureLanguageTag('quz'), community: 'Ayllu\u00e9', tokens: 2 ** 40 })

  it('keeps contributions in the order of their nodes', async () => {
    const [first, second] = [
      contributionRow(nodeId(0), { languages: [quechua, languageReport()] }),
      contributionRow(nodeId(2)),
    ]
    await store.transact('submit', (tx) => tx.createContributions([second]))
    await store.transact('submit', (tx) => tx.createContributions([first]))
    expect(await store.reader.contributions(ROUND)).toEqual([first, second])
    expect(await store.transact('look', (tx) => tx.contributionByNonce(nodeId(2), '00ff'))).toEqual(second)
    expect(await store.transact('look', (tx) => tx.contributionByNonce(nodeId(2), 'ff'))).toBeUndefined()
    const [decided] = decideWeights([{ ...first, member: 'm', jurisdiction: null, quality: null, below: null }], {
      ...DEFAULT_INFLUENCE,
      mostTokens: 1000,
      counts: true,
    })
    const { decision = null } = decided ?? {}
    for (const weight of [
      { value: 1, reason: 'uniform', decision },
      { value: 1 / 3, reason: 'older', decision: null },
    ]) {
      await store.transact('seal', (tx) => tx.setWeights([{ id: first.id, weight }]))
      const [row] = await store.reader.contributions(ROUND)
      expect(row?.weight).toMatchObject({ value: weight.value, reason: weight.reason })
      expect(row?.weight?.decision).toEqual(decision)
    }
  })

  it('refuses a second one, and numbers that are none', async () => {
    const submit = (change: Parameters<typeof contributionRow>[1], node = nodeId(1)) =>
      store.transact('submit', (tx) => tx.createContributions([contributionRow(node, change)]))
    const again = { id: digest('another manifest'), nonce: '01' }
    await expect(submit(again, nodeId(0))).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
    for (const bytes of [-1, 0.5, Number.NaN, 2 ** 60]) {
      await expect(submit({ bytes })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    }
    for (const norm of [Number.NaN, Number.POSITIVE_INFINITY]) {
      await expect(submit({ norm })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    }
    await expect(submit({ manifest: 'a\0b' })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })

  it('keeps refusals, also of what names no round, and whatever they quote', async () => {
    const row = { node: nodeId(1), kind: 'contribution', reason: 'NON_FINITE', at: NOW } as const
    await store.transact('refuse', async (tx) => {
      await tx.createRejection({ ...row, key: ROUND, detail: 'tensor "a\0b"' })
      await tx.createRejection({ ...row, key: null, detail: 'no such round' })
      await tx.createRejection({ ...row, key: ROUND, kind: 'evaluation', reason: 'INVALID_REPORT', detail: 'NaN' })
    })
    expect(await store.reader.rejections(ROUND)).toMatchObject([
      { detail: 'tensor "a\uFFFDb"' },
      { kind: 'evaluation' },
    ])
    expect(Object.fromEntries(await store.reader.rejectionCounts())).toEqual({
      ACCEPTED: 2,
      NON_FINITE: 2,
      INVALID_REPORT: 1,
    })
  })

  it('replaces evaluations of the same text by the same party', async () => {
    const score = { mean: 3, standardError: 0.1, tokens: 50 }
    const language = ensureLanguageTag('sw')
    const row: EvaluationRow = {
      ...{ key: ROUND, measuredBy: nodeId(0), language, community: '', base: score, candidate: score, at: NOW },
      paired: { unit: 0.01, steps: [-1, 0, 1] },
      report: { text: '{}', signature: { keyId: 'ef'.repeat(32), value: 'c2ln' } },
    }
    const own: EvaluationRow = { ...row, measuredBy: 'coordinator', report: null, paired: null }
    await store.transact('evaluate', (tx) => tx.putEvaluations([row, own]))
    const better = { ...row, candidate: { ...score, mean: 2 } }
    await store.transact('evaluate', (tx) => tx.putEvaluations([better]))
    await store.transact('evaluate', (tx) => tx.putEvaluations([]))
    expect(await store.reader.evaluations(ROUND)).toEqual([own, better])
  })

  it('adds up by language, community, node and round', async () => {
    const sums = async (by: Parameters<Store['reader']['summary']>[0], filter = {}) =>
      (await store.reader.summary(by, filter)).map((row) => [row.key, row.accepted, row.rejected, row.tokens])
    expect(await sums('language')).toEqual([
      ['quz', 1, 0, 2 ** 40],
      ['sw', 2, 0, 2000],
    ])
    expect(await sums('community')).toEqual([
      ['', 2, 0, 2000],
      ['Ayllu\u00e9', 1, 0, 2 ** 40],
    ])
    expect(await sums('node')).toEqual([
      [nodeId(0), 1, 0, 2 ** 40 + 1000],
      [nodeId(1), 0, 2, 0],
      [nodeId(2), 1, 0, 1000],
    ])
    expect(await sums('round')).toEqual([[`${RUN}/1`, 2, 1, 2 ** 40 + 2000]])
    expect(await sums('node', { node: nodeId(2) })).toEqual([[nodeId(2), 1, 0, 1000]])
    expect(await sums('node', { run: ensureRunId('none') })).toEqual([])
  })

  it('pools losses over held-out tokens', async () => {
    const third = contributionRow(nodeId(1), {
      nonce: '02',
      languages: [
        languageReport({
          before: { mean: 7, standardError: 0, tokens: 300 },
          after: { mean: 2, standardError: 0, tokens: 300 },
        }),
      ],
    })
    await store.transact('submit', (tx) => tx.createContributions([third]))
    const [, swahili] = await store.reader.summary('language', {})
    expect(swahili?.lossBefore).toBeCloseTo((3 * 200 + 7 * 300) / 500, 12)
    expect(swahili?.lossAfter).toBeCloseTo(2, 12)
  })
})

describe('releases', () => {
  it('keeps checkpoints and moves channels', async () => {
    await store.transact('publish', async (tx) => {
      await tx.createCheckpoint(checkpointRow(0))
      await tx.moveChannel(CHANNEL, checkpointRow(0).digest, NOW)
      await tx.createCheckpoint(checkpointRow(1))
      await tx.moveChannel(CHANNEL, checkpointRow(1).digest, NOW + 1)
    })
    expect(await store.reader.checkpointByVersion(RUN, 0)).toEqual(checkpointRow(0))
    expect(await store.reader.checkpoint(checkpointRow(1).digest)).toEqual(checkpointRow(1))
    expect((await store.reader.checkpoints({ run: RUN, limit: 5 })).map(({ version }) => version)).toEqual([1, 0])
    const channel = { name: CHANNEL, checkpoint: checkpointRow(1).digest, run: RUN, version: 1, updatedAt: NOW + 1 }
    expect(await store.reader.channel(CHANNEL)).toEqual(channel)
    expect(await store.reader.channels()).toEqual([channel])
    expect(await store.reader.isReleased(digest('weights 1'))).toBe(true)
    expect(await store.reader.isReleased(digest('payload'))).toBe(false)
  })

  it('keeps announced uploads until they are done', async () => {
    const row = { digest: digest('artifact'), size: 6_000_000_000, node: nodeId(0), createdAt: NOW }
    await store.transact('announce', (tx) => tx.putUploads([row]))
    await store.transact('announce', (tx) => tx.putUploads([{ ...row, node: nodeId(1) }]))
    expect(await store.reader.upload(row.digest)).toEqual({ ...row, node: nodeId(1) })
    expect(await store.reader.uploadsOf(nodeId(0))).toEqual([])
    expect(await store.reader.uploadsOf(nodeId(1))).toHaveLength(1)
    await store.transact('done', (tx) => tx.removeUploads([row.digest]))
    await store.transact('done', (tx) => tx.removeUploads([row.digest]))
    expect(await store.reader.upload(row.digest)).toBeUndefined()
  })

  it('counts what a node announces for the round that collects from it, else for the last it joined, else for none', async () => {
    const count = (bytes: number, most = 6_000_000_000) =>
      store.transact('count', async (tx) =>
        (await tx.countAnnounced([{ node: nodeId(1), bytes, most }])).get(nodeId(1)),
      )
    expect(await count(3)).toEqual({ counted: true, until: null })
    await store.transact('join', (tx) => tx.addToRoster(ROUND, [nodeId(1)], NOW))
    const deadline = NOW + POLICY.joinWindowMs
    expect(await count(4, 3)).toEqual({ counted: false, until: deadline })
    expect(await count(5_000_000_000)).toEqual({ counted: true, until: deadline })
    expect(await count(1_000_000_001)).toEqual({ counted: false, until: deadline })
    expect(await count(1_000_000_000)).toEqual({ counted: true, until: deadline })
    expect(await count(1)).toEqual({ counted: false, until: deadline })
  })
})

describe('the store', () => {
  it('says when the database cannot be reached', async () => {
    const nowhere = openStore({ url: 'postgresql://nobody@127.0.0.1:1/none' })
    await expect(nowhere).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    expect(await store.ready()).toBe(true)
  })
})
