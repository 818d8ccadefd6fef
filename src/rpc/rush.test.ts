// What one update costs the database, counted in statements, and that a rush shares them.
import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { create } from '@bufbuild/protobuf'
import { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { deltaBytes, TEST_POLICY, type TestCoordinator, testCoordinator, testNode, testRun } from '../../test/rounds.ts'
import { publicLog } from '../../test/simulation/ledger.ts'
import { digestOf } from '../core/digest.ts'
import { ensureMemberId, type RoundKey } from '../core/ids.ts'
import { ensureLanguageTag } from '../core/language-tag.ts'
import { DOMAINS, signMessage } from '../core/signature.ts'
import { SubmitContributionRequestSchema } from '../gen/proto/tapestry/v1/contribution_pb.ts'
import { JoinRoundRequestSchema } from '../gen/proto/tapestry/v1/round_pb.ts'
import { contributionManifestBytes, parseContributionManifest } from '../model/contribution-manifest.ts'
import { openNextRound } from '../store/advance.ts'
import type { RoundRow } from '../store/records.ts'
import { announceUpload, appendUpload } from '../store/uploads.ts'
import { acceptContribution } from './accept-contribution.ts'
import { joinRound } from './join-round.ts'
import { submitContribution } from './submit-contribution.ts'

const NODES = 40

let coordinator: TestCoordinator
let key: KeyObject

beforeAll(async () => {
  coordinator = await testCoordinator()
  const pair = generateKeyPairSync('ed25519')
  key = pair.privateKey
  const publicKey = pair.publicKey.export({ type: 'spki', format: 'pem' }).toString()
  const { context, clock } = coordinator
  await context.store.transact('enrol', async (tx) => {
    const member = ensureMemberId('member')
    await tx.ensureMember(member, clock.now())
    for (let n = 1; n <= NODES + 1; n += 1) {
      const row = { id: testNode(n), member, name: 'Node', genesis: '{}', publicKey }
      await tx.createNode({ ...row, enrolledAt: clock.now() })
    }
  })
})

afterAll(() => coordinator.close())

/** Statements that the database is sent while `work` lasts: those of every connection of this process. */
async function statementsOf(work: () => Promise<unknown>): Promise<number> {
  const sent = vi.spyOn(Client.prototype, 'query')
  try {
    await work()
    return sent.mock.calls.length
  } finally {
    sent.mockRestore()
  }
}

async function openRound(name: string, target: number): Promise<RoundRow> {
  const { context, clock } = coordinator
  const run = await testRun(coordinator, name, { ...TEST_POLICY, target, quorum: 1, continuous: false })
  return context.store.transact('open', (tx) => openNextRound(tx, run.id, clock.now()))
}

async function principal(n: number) {
  const node = await coordinator.context.store.reader.node(testNode(n))
  if (node === undefined) throw new Error(`node ${n} has not enrolled`)
  return { kind: 'node', node } as const
}

async function join(ref: RoundKey, nodes: readonly number[]) {
  const request = create(JoinRoundRequestSchema, { ref })
  const principals = await Promise.all(nodes.map(principal))
  return Promise.allSettled(principals.map((one) => joinRound(coordinator.context, request, one)))
}

function manifestOf({ key: { run, number }, round }: RoundRow, n: number, payload: Uint8Array, nonce = n) {
  const score = { mean: 3, standardError: 0.1, tokens: 100 }
  return contributionManifestBytes({
    federation: coordinator.context.federation,
    run,
    round: number,
    node: testNode(n),
    baseDigest: round.base,
    payloadDigest: digestOf(payload),
    payloadBytes: payload.byteLength,
    nonce: nonce.toString(16).padStart(32, '0'),
    languages: [
      { language: ensureLanguageTag('sw'), community: '', tokens: 10, documents: 1, before: score, after: score },
    ],
  })
}

describe('a rush', () => {
  it('joins a round in a few statements, and whoever comes after the last place is refused', async () => {
    const { key: ref } = await openRound('joining', NODES)
    await principal(1)
    const everybody = Array.from({ length: NODES + 1 }, (_, i) => i + 1)
    let settled: Awaited<ReturnType<typeof join>> = []
    const sent = await statementsOf(async () => {
      settled = await join(ref, [...everybody, 1])
    })
    // One look-up of all nodes comes before.
    expect(sent).toBeLessThanOrEqual(12)
    const refused = settled.flatMap(({ status }, i) => (status === 'rejected' ? [i] : []))
    expect(refused).toEqual([NODES])
    const round = await coordinator.context.store.reader.round(ref)
    expect(round?.round).toMatchObject({ phase: 'collecting', roster: NODES })
    expect(await coordinator.context.store.reader.roster(ref)).toHaveLength(NODES)
  })

  it('hands in contributions in a few statements, each judged as if those before it were stored', async () => {
    const { key: ref } = await openRound('handing-in', NODES)
    await join(
      ref,
      Array.from({ length: NODES }, (_, i) => i + 1),
    )
    const { store } = coordinator.context
    const row = await store.reader.round(ref)
    if (row === undefined) throw new Error('no round')
    const handedIn = async (n: number, payload: string, nonce = n) => {
      const bytes = manifestOf(row, n, Buffer.from(payload), nonce)
      const manifest = parseContributionManifest(bytes)
      if (!manifest.ok) throw new Error(manifest.rejection.detail)
      const signature = { keyId: 'none', value: 'none' }
      const signed = { id: digestOf(bytes), manifest: manifest.value, text: Buffer.from(bytes).toString(), signature }
      return { signed, node: (await principal(n)).node, norm: 1, now: coordinator.clock.now() }
    }
    const first = await handedIn(1, 'payload 1')
    const fits = [first, first, await handedIn(1, 'another', 1001), await handedIn(2, 'payload 1')]
    for (let n = 2; n <= NODES; n += 1) fits.push(await handedIn(n, `payload ${n}`))
    fits.push(await handedIn(NODES + 1, 'too late'))
    let verdicts: unknown[] = []
    const sent = await statementsOf(async () => {
      verdicts = (await Promise.all(fits.map((one) => acceptContribution(store, one)))).map((verdict) =>
        verdict.ok ? 'accepted' : verdict.rejection.reason,
      )
    })
    expect(sent).toBeLessThanOrEqual(22)
    const accepted = Array.from({ length: NODES - 1 }, () => 'accepted')
    expect(verdicts).toEqual(['accepted', 'accepted', 'DUPLICATE', 'REPLAYED', ...accepted, 'ROUND_CLOSED'])
    expect((await store.reader.round(ref))?.round).toMatchObject({ phase: 'sealed', accepted: NODES })
    const rows = await store.reader.contributions(ref)
    expect(rows.map(({ node }) => node)).toEqual(Array.from({ length: NODES }, (_, i) => testNode(i + 1)))
    expect(rows.every(({ languages }) => languages.length === 1)).toBe(true)
    await store.numberEntries()
    for (const { id } of rows) expect(await store.reader.ledgerEntryAbout(id)).toBeDefined()
  })
})

describe('an update alone', () => {
  it('takes so many statements from its announcement to its receipt, and no more', async () => {
    const { key: ref } = await openRound('alone', 1)
    await join(ref, [1])
    const { context } = coordinator
    const row = await context.store.reader.round(ref)
    if (row === undefined) throw new Error('no round')
    const payload = deltaBytes(0.001)
    const manifest = manifestOf(row, 1, payload, 7)
    const signature = signMessage(key, DOMAINS.contribution, manifest)
    const wire = { keyId: signature.keyId, value: Buffer.from(signature.value, 'base64') }
    const request = create(SubmitContributionRequestSchema, { manifest, signature: wire })
    const caller = await principal(1)
    let answer: object = {}
    const sent = await statementsOf(async () => {
      await announceUpload(context, testNode(1), digestOf(payload), payload.byteLength)
      await appendUpload(context, testNode(1), digestOf(payload), 0, payload)
      answer = await submitContribution(context, publicLog(context), request, caller)
    })
    expect(answer).toHaveProperty('receipt')
    expect(sent).toBeLessThanOrEqual(52)
  })
})
