import { generateKeyPairSync } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, stat, truncate } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { FakeCoordinator } from '../../test/fake-coordinator.ts'
import { FakeLog } from '../../test/fake-log.ts'
import { readReceipt } from '../../test/ledger-reader.ts'
import { systemClock } from '../core/clock.ts'
import { type Digest, digestOf } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import { ensureRunId } from '../core/ids.ts'
import { ensureLanguageTag } from '../core/language-tag.ts'
import { EnrollmentService } from '../gen/proto/tapestry/v1/enrollment_pb.ts'
import { issueClientCertificate } from '../identity/certificate-authority.ts'
import { nodeIdOf } from '../identity/genesis.ts'
import { createInvitation } from '../identity/invitation.ts'
import { verifyReceiptFile } from '../ledger/receipt.ts'
import { type ContributionManifest, contributionManifestBytes } from '../model/contribution-manifest.ts'
import { type NodeClient, openNodeClient } from './client.ts'
import { joinFederation } from './enrolment.ts'
import { LogKeeper } from './log-keeper.ts'
import { createNodeDirectory, type NodeDirectory } from './node-directory.ts'

const inconsistent = expect.objectContaining({ code: 'LEDGER_INCONSISTENT' })
const withCode = (code: string) => expect.objectContaining({ code })
const language = { language: ensureLanguageTag('sw'), community: '' }
const score = { mean: 3, standardError: 0.1, tokens: 100 }
const signal = new AbortController().signal

let fake: FakeCoordinator
let log: FakeLog
let parent: string
let directory: NodeDirectory
let client: NodeClient

beforeEach(async () => {
  fake = await FakeCoordinator.create()
  log = new FakeLog(fake)
  fake.unary(EnrollmentService, {
    enroll: async ({ genesis, certificateRequest }) => {
      const identity = { kind: 'node', node: nodeIdOf(genesis) } as const
      const certificate = await issueClientCertificate(fake.authority, certificateRequest, identity, Date.now())
      return { node: identity.node, member: 'archive', certificate }
    },
  })
  await fake.listen()
  parent = await mkdtemp(join(tmpdir(), 'tapestry-log-'))
  directory = await createNodeDirectory(join(parent, 'node'), { name: 'Lamu Archive', sources: [] })
  await joinFederation(directory, createInvitation(Buffer.alloc(32, 7), fake.address, fake.federation), systemClock)
  client = await openNodeClient(directory, systemClock)
})

afterEach(async () => {
  client.close()
  await fake.close()
  await rm(parent, { recursive: true })
})

/** As after a restart: only what is in the directory is known. */
const keeper = () => new LogKeeper(directory, client, systemClock)
const check = () => keeper().check(signal)
const seen = async () => JSON.parse(await readFile(join(directory.root, 'ledger', 'checkpoint.json'), 'utf8'))
const evidence = async () =>
  (await readdir(join(directory.root, 'ledger'))).filter((name) => name.startsWith('evidence-'))

function claimOf(): { claim: ContributionManifest; bytes: Uint8Array; id: Digest } {
  const claim: ContributionManifest = {
    format: 'tapestry-contribution/1',
    federation: fake.federation,
    run: ensureRunId('demo'),
    round: 3,
    node: client.membership.node,
    baseDigest: digestOf('base'),
    payloadDigest: digestOf('payload'),
    payloadBytes: 7,
    nonce: '00'.repeat(16),
    languages: [{ ...language, tokens: 10, documents: 1, before: score, after: score }],
  }
  const bytes = contributionManifestBytes(claim)
  return { claim, bytes, id: digestOf(bytes) }
}

/** Records the contribution of `claimOf` in the log. */
function record(changes: { readonly payload?: Digest } = {}): ReturnType<typeof claimOf> {
  const made = claimOf()
  const { run, round, node, baseDigest: base, payloadDigest, payloadBytes: bytes } = made.claim
  const payload = changes.payload ?? payloadDigest
  log.append({ type: 'contribution', contribution: made.id, run, round, node, base, payload, bytes })
  return made
}

function grow(count: number, lie: () => void): void {
  lie()
  log.fill(count)
}

function tamper(change: FakeLog['tamper']): void {
  log.tamper = change
}

describe('a node that watches the log', () => {
  it('keeps the newest checkpoint, privately, as the log grows', async () => {
    for (const count of [0, 1, 6, 300, 0]) {
      log.fill(count)
      await check()
      expect(await seen()).toMatchObject({ checkpoint: log.note(), size: log.entries.length })
    }
    expect((await stat(join(directory.root, 'ledger', 'checkpoint.json'))).mode & 0o777).toBe(0o600)
    expect(await evidence()).toEqual([])
  })

  it('takes turns, so that checks at once do not accuse each other', async () => {
    const one = keeper()
    const checks = Array.from({ length: 10 }, () => {
      log.fill(3)
      return one.check(signal)
    })
    await Promise.all(checks)
    expect((await seen()).size).toBe(30)
  })

  it.each([
    ['a fork of the same size', () => log.rewrite(2)],
    ['a fork that has grown', () => grow(40, () => log.rewrite(2))],
    ['a log that shrank', () => log.entries.splice(4)],
    ['an empty log', () => log.entries.splice(0)],
    ['another key', () => log.useKey(generateKeyPairSync('ed25519').privateKey)],
    ['a changed checkpoint', () => Object.assign(log, { checkpoint: log.note().replace('\n5\n', '\n6\n') })],
    ['a cut checkpoint', () => Object.assign(log, { checkpoint: log.note().slice(0, -10) })],
    ['no checkpoint', () => Object.assign(log, { checkpoint: '\0' })],
    ['a proof from a truncated tile', () => grow(9, () => tamper((tile) => tile.subarray(0, 64)))],
    ['a proof from a damaged tile', () => grow(9, () => tamper((tile) => Buffer.from(tile).fill(7, 0, 32)))],
    [
      'a log that is no longer shown',
      () => Object.assign(log, { failure: new TapestryError('FAILED_PRECONDITION', 'what log?') }),
    ],
  ])('stops at %s, with evidence, also after a restart', async (_, lie) => {
    log.fill(5)
    await check()
    const before = await seen()
    lie()
    await expect(check()).rejects.toEqual(inconsistent)
    await expect(check()).rejects.toEqual(inconsistent)
    expect(await seen()).toEqual(before)
    const [name = ''] = await evidence()
    const kept = JSON.parse(await readFile(join(directory.root, 'ledger', name), 'utf8'))
    expect(kept).toMatchObject({
      format: 'tapestry-log-evidence/1',
      lastCheckpoint: before.checkpoint,
      log: before.log,
    })
  })

  it('finds a split view: two checkpoints, both signed, shown to one node after the other', async () => {
    log.fill(8)
    await check()
    const honest = log.entries
    log.rewrite(7)
    const other = log.note()
    log.entries = honest
    log.checkpoint = other
    await expect(check()).rejects.toEqual(inconsistent)
    const [name = ''] = await evidence()
    expect(await readFile(join(directory.root, 'ledger', name), 'utf8')).toContain(JSON.stringify(other))
  })

  it('waits for a coordinator that is away or busy instead of accusing it', async () => {
    log.fill(5)
    await check()
    for (const code of ['RESOURCE_EXHAUSTED', 'INTERNAL'] as const) {
      log.failure = new TapestryError(code, 'not today')
      await expect(check()).rejects.toEqual(withCode(code))
    }
    log.failure = undefined
    await check()
    expect(await evidence()).toEqual([])
  })

  it('believes no log record that the authority has not signed', async () => {
    const bytes = Buffer.from(log.signer.record.bytes)
    fake.logRecord = { ...log.signer.record, bytes: Buffer.from(bytes.toString().replace('tapestry/', 'tapestri/')) }
    await expect(check()).rejects.toEqual(withCode('VERIFICATION_FAILED'))
  })

  it('has nothing to watch at a coordinator that keeps no log', async () => {
    fake.logRecord = undefined
    await check()
    expect(await keeper().keep(undefined, claimOf().bytes, claimOf().claim, signal)).toBeUndefined()
  })

  it('does not go on from a memory that is damaged', async () => {
    log.fill(5)
    await check()
    await truncate(join(directory.root, 'ledger', 'checkpoint.json'), 40)
    await expect(check()).rejects.toEqual(withCode('DATA_INVALID'))
  })
})

describe('a receipt', () => {
  const receiptPath = () => join(directory.root, 'ledger', 'receipts', 'demo', '3.json')
  type Receipt = Parameters<LogKeeper['keep']>[0]
  const keep = async (receipt: unknown, { bytes, claim }: ReturnType<typeof claimOf>) =>
    keeper().keep(receipt as Receipt, bytes, claim, signal)

  it('is proved and kept as a file that needs nothing else', async () => {
    log.fill(300)
    await check()
    const made = record()
    expect(await keep(await log.receipt(), made)).toBe(300)
    expect((await seen()).size).toBe(301)
    const text = await readFile(receiptPath(), 'utf8')
    expect(readReceipt(text, fake.federation)).toMatchObject({ contribution: made.id, round: 3 })
    expect(verifyReceiptFile(text, fake.federation)).toMatchObject({ receipt: { index: 300 }, head: { size: 301 } })
    expect(() => verifyReceiptFile(text, digestOf('another'))).toThrow(withCode('WRONG_FEDERATION'))
    expect(() => readReceipt(text, digestOf('another'))).toThrow('another federation')
  })

  it('may be older than the newest checkpoint', async () => {
    log.fill(3)
    const made = record()
    const receipt = await log.receipt()
    log.fill(20)
    await check()
    expect(await keep(receipt, made)).toBe(3)
    expect((await seen()).size).toBe(24)
  })

  it.each([
    ['for another payload', { payload: digestOf('other') }, () => ({})],
    ['with another index', {}, () => ({ index: 2n })],
    ['with an index beyond all numbers', {}, () => ({ index: 2n ** 63n })],
    ['with a changed entry', {}, () => ({ entry: Buffer.from('{}') })],
    ['with a cut proof', {}, (proof: readonly Uint8Array[]) => ({ proof: proof.slice(1) })],
    ['without a checkpoint', {}, () => ({ checkpoint: '' })],
  ])('that is forged is refused: %s', async (_, recorded, forge) => {
    log.fill(5)
    await check()
    record(recorded)
    const receipt = await log.receipt()
    await expect(keep({ ...receipt, ...forge(receipt.proof) }, claimOf())).rejects.toEqual(inconsistent)
    expect(await evidence()).toHaveLength(1)
    await expect(stat(receiptPath())).rejects.toThrow()
  })

  it('is refused for another entry of the log, and from a forked log', async () => {
    log.fill(5)
    await check()
    await expect(keep(await log.receipt(), claimOf())).rejects.toEqual(inconsistent)
    log.rewrite(0)
    const made = record()
    await expect(keep(await log.receipt(), made)).rejects.toEqual(inconsistent)
    expect(await evidence()).toHaveLength(2)
  })

  it('is refused as a file with any member changed', async () => {
    log.fill(5)
    const made = record()
    await keep(await log.receipt(), made)
    const text = await readFile(receiptPath(), 'utf8')
    const file = JSON.parse(text)
    const changes = [
      { index: 4 },
      { entry: file.entry.replace('demo', 'demi') },
      { proof: [] },
      { proof: [...file.proof, file.proof[0]] },
      { checkpoint: file.checkpoint.replace('\n6\n', '\n7\n') },
      { log: { ...file.log, record: file.log.record.replace('tapestry', 'tapestri') } },
      { federation: { ...file.federation, record: file.federation.record.replace('Test', 'Best') } },
      { remark: 'hello' },
    ]
    for (const change of changes) {
      const forged = JSON.stringify({ ...file, ...change })
      expect(() => verifyReceiptFile(forged, fake.federation)).toThrow(withCode('VERIFICATION_FAILED'))
      if (!('remark' in change)) expect(() => readReceipt(forged, fake.federation)).toThrow()
    }
  })
})
