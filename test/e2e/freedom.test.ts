import { cp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createProgram } from '../../src/cli/program.ts'
import { DOMAINS } from '../../src/core/signature.ts'
import { NodeService } from '../../src/gen/proto/tapestry/v1/node_pb.ts'
import { OperatorService } from '../../src/gen/proto/tapestry/v1/operator_pb.ts'
import { RoundPhase, RoundService } from '../../src/gen/proto/tapestry/v1/round_pb.ts'
import { departureBytes } from '../../src/identity/departure.ts'
import type { LedgerEntry } from '../../src/ledger/entry.ts'
import { parseEntry } from '../../src/ledger/entry.ts'
import { openNodeClient } from '../../src/participant/client.ts'
import { changeNodeKeys, finishKeyChange } from '../../src/participant/key-change.ts'
import { leaveFederation, tellDeparture } from '../../src/participant/leave.ts'
import {
  type KeyName,
  type NodeDirectory,
  openNodeDirectory,
  requireKey,
} from '../../src/participant/node-directory.ts'
import { signatureMessage } from '../../src/participant/wire.ts'
import { TestNetwork } from '../network.ts'
import { documentBytes } from './payload.ts'
import { type Place, putBytes, TestNode } from './test-node.ts'

let network: TestNetwork

beforeAll(async () => {
  network = await TestNetwork.create()
})

afterAll(() => network?.close())

let serial = 0

/** A round of fresh nodes in a run of its own, which takes any two of them. */
async function roundOf(count: number): Promise<{ place: Place; nodes: TestNode[] }> {
  const names = Array.from({ length: count }, () => `node-${++serial}`)
  const nodes: TestNode[] = []
  for (const name of names) nodes.push(await network.addNode(name, ['en']))
  const run = await network.createRun(`run-${serial}`, { target: count, quorum: Math.min(2, count) })
  const place = await network.startRound(run)
  for (const node of nodes) await node.join(place.key)
  return { place, nodes }
}

async function entriesAbout(node: TestNode): Promise<LedgerEntry[]> {
  await network.store.numberEntries()
  const entries = (await network.store.reader.ledgerEntries(0, 10_000)).map(parseEntry)
  return entries.filter((entry) => 'node' in entry && entry.node === node.id && entry.type.startsWith('node-'))
}

const listNodes = (node: TestNode) =>
  network.operator
    .call(OperatorService.method.listNodes, {})
    .then(({ nodes }) => nodes.find(({ id }) => id === node.id))

const anyCall = (node: TestNode) => node.client.call(RoundService.method.listRounds, {})
const barred = expect.objectContaining({ code: 'PERMISSION_DENIED' })
const unknown = expect.objectContaining({ code: 'UNAUTHENTICATED' })

describe('a round', () => {
  test('ends at once with those who remain, when one leaves in the middle and one is suspended', async () => {
    const { place, nodes } = await roundOf(3)
    const [one, two, leaver] = nodes as [TestNode, TestNode, TestNode]
    await one.contribute(place, network.tensors)
    await two.contribute(place, network.tensors)
    expect((await network.round(place.key)).round?.phase).toBe(RoundPhase.COLLECTING)
    expect(await leaveFederation(leaver.directory, 'stay')).toBe(true)
    const { round } = await network.roundIn(place.key, RoundPhase.EVALUATING)
    expect(round).toMatchObject({ phase: RoundPhase.EVALUATING, roster: 3, accepted: 2, declined: 1 })

    const { suspendNode } = OperatorService.method
    await network.operator.call(suspendNode, { node: two.id, reason: 'its disk is being replaced' })
    expect(await one.report(documentBytes(one.review(place, round?.candidateDigest ?? '')))).toBeUndefined()
    expect((await network.roundEnded(place.key)).round?.phase).toBe(RoundPhase.PUBLISHED)
    for (const node of [two, leaver]) await expect(anyCall(node)).rejects.toEqual(barred)
  })

  test('does not wait for a node that skips it, or pauses; and fails at once when too few remain', async () => {
    const { place, nodes } = await roundOf(3)
    const [one, two, three] = nodes as [TestNode, TestNode, TestNode]
    const { declineRound } = RoundService.method
    for (let twice = 0; twice < 2; twice++) {
      const { round } = await one.client.call(declineRound, { ref: place.key })
      expect(round).toMatchObject({ phase: RoundPhase.COLLECTING, declined: 1 })
    }
    expect((await one.contribute(place, network.tensors)).reason).toBe('NOT_IN_ROSTER')
    await two.contribute(place, network.tensors)
    await three.client.call(NodeService.method.declarePause, { paused: true })
    expect((await network.round(place.key)).round).toMatchObject({ phase: RoundPhase.FAILED, declined: 2 })
    expect((await listNodes(three))?.pausedSinceMs).toBeGreaterThan(0n)
    await three.client.call(NodeService.method.declarePause, { paused: false })
    expect(await listNodes(three)).toMatchObject({ status: 'active', pausedSinceMs: 0n })
  })

  test('goes on without what an ejected node contributed', async () => {
    const { place, nodes } = await roundOf(4)
    const [one, two, three, bad] = nodes as [TestNode, TestNode, TestNode, TestNode]
    const { contribution } = await bad.contribute(place, network.tensors)
    await one.contribute(place, network.tensors)
    const eject = { node: bad.id, reason: 'it sent the same update under many names' }
    const { dropped } = await network.operator.call(OperatorService.method.ejectNode, eject)
    expect(dropped).toEqual([contribution])
    expect((await network.operator.call(OperatorService.method.ejectNode, eject)).dropped).toEqual([])
    await two.contribute(place, network.tensors)
    await three.contribute(place, network.tensors)
    const { round, contributions } = await network.roundIn(place.key, RoundPhase.EVALUATING)
    expect(round).toMatchObject({ accepted: 3, declined: 1 })
    expect(contributions.find(({ node }) => node === bad.id)?.rejection?.reason).toBe('EJECTED')

    // A candidate that holds what must not count is given up with its round.
    await network.operator.call(OperatorService.method.ejectNode, { node: one.id, reason: 'the same' })
    expect((await network.round(place.key)).round?.phase).toBe(RoundPhase.FAILED)
    expect(await entriesAbout(bad)).toMatchObject([{ type: 'node-status', status: 'ejected', dropped: [contribution] }])
    const { reinstateNode } = OperatorService.method
    const back = network.operator.call(reinstateNode, { node: bad.id, reason: 'a mistake' })
    await expect(back).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' })
    await expect(anyCall(bad)).rejects.toEqual(barred)
  })
})

describe('leaving', () => {
  test('needs no permission, works once, and cannot be forged', async () => {
    const node = await network.addNode('departing', ['en'])
    const other = await network.addNode('staying', ['en'])
    const bytes = departureBytes({ federation: network.federation, node: node.id, contributions: 'stay' })
    const send = (by: TestNode, departure = bytes) =>
      network.channel().call(NodeService.method.leaveFederation, {
        departure,
        signature: signatureMessage(by.sign(departure, DOMAINS.departure)),
      })
    await expect(send(other)).rejects.toMatchObject({ code: 'VERIFICATION_FAILED' })
    await expect(send(node, Buffer.from('{}'))).rejects.toMatchObject({ code: 'VERIFICATION_FAILED' })
    const elsewhere = { federation: `sha256:${'0'.repeat(64)}` as never, node: node.id, contributions: 'stay' } as const
    await expect(send(node, Buffer.from(departureBytes(elsewhere)))).rejects.toMatchObject({ code: 'WRONG_FEDERATION' })

    const { suspendNode } = OperatorService.method
    await network.operator.call(suspendNode, { node: node.id, reason: 'suspended nodes may leave' })
    expect(await send(node)).toMatchObject({ status: 'left' })
    const { statusSinceMs } = (await listNodes(node)) ?? {}
    expect(await send(node)).toMatchObject({ status: 'left' })
    expect(await listNodes(node)).toMatchObject({ status: 'left', statusSinceMs })
    expect((await entriesAbout(node)).map(({ type }) => type)).toEqual(['node-status', 'node-left'])
    await expect(network.operator.call(suspendNode, { node: node.id, reason: 'late' })).rejects.toMatchObject({
      code: 'FAILED_PRECONDITION',
    })
  })

  test('without a network is told at the next contact', async () => {
    const node = await network.addNode('offline', ['en'])
    const record = await node.directory.read()
    const away = { ...record, membership: { ...node.membership, address: '127.0.0.1:1' } }
    await node.directory.write(away)
    expect(await leaveFederation(node.directory, 'stay')).toBe(false)
    expect((await listNodes(node))?.status).toBe('active')
    await node.directory.write(record)
    expect(await node.run()).toEqual({ finished: 0, because: 'left' })
    expect((await listNodes(node))?.status).toBe('left')
    expect(await tellDeparture(node.directory)).toBe(true)
  })
})

describe('a change of keys', () => {
  /** Everything that a thief can copy from a node but its recovery key. */
  async function stolenFrom(node: TestNode): Promise<NodeDirectory> {
    const path = join(network.root, 'stolen', node.id)
    await cp(node.directory.root, path, { recursive: true })
    const directory = await openNodeDirectory(path)
    await directory.removeKey('recovery.key')
    return directory
  }

  const reopened = async (directory: NodeDirectory) =>
    TestNode.open(directory, await openNodeClient(directory, network.clock), network.clock)

  test('by the recovery key cuts a thief off, whatever the thief has done', async () => {
    const owner = await network.addNode('owner', ['en'])
    const recoveryKey = await requireKey(owner.directory, 'recovery.key')
    const stolen = await stolenFrom(owner)
    expect(await changeNodeKeys(stolen, network.clock)).toMatchObject({ number: 1, authority: 'node' })
    const thief = await reopened(stolen)
    await anyCall(thief)
    await expect(anyCall(owner)).rejects.toEqual(unknown)
    await expect(changeNodeKeys(owner.directory, network.clock)).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' })
    const wrong = { recoveryKey: await requireKey(owner.directory, 'node.key') }
    await expect(changeNodeKeys(owner.directory, network.clock, wrong)).rejects.toMatchObject({
      code: 'VERIFICATION_FAILED',
    })

    const change = await changeNodeKeys(owner.directory, network.clock, { recoveryKey, replaceRecovery: true })
    expect(change).toEqual({ number: 2, authority: 'recovery', recoveryReplaced: true })
    await anyCall(await reopened(owner.directory))
    await expect(anyCall(thief)).rejects.toEqual(unknown)
    await expect(changeNodeKeys(stolen, network.clock)).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' })
    const again = changeNodeKeys(stolen, network.clock, { recoveryKey })
    await expect(again).rejects.toMatchObject({ code: 'VERIFICATION_FAILED' })
    expect(await entriesAbout(owner)).toMatchObject([
      { type: 'node-keys', number: 1, authority: 'node' },
      { type: 'node-keys', number: 2, authority: 'recovery' },
    ])
    thief.close()
  })

  test('in the middle of an upload: the bytes count, the old signature does not', async () => {
    const { place, nodes } = await roundOf(1)
    const [node] = nodes as [TestNode]
    const payload = node.delta(network.tensors)
    const manifest = documentBytes(node.claim(place, payload))
    await node.announce(payload.digest, payload.bytes.length)
    const half = payload.bytes.length >> 1
    await putBytes(node.client.https, payload.digest, payload.bytes.subarray(0, half), { size: payload.bytes.length })
    await changeNodeKeys(node.directory, network.clock)

    const renewed = await reopened(node.directory)
    const rest = payload.bytes.subarray(half)
    await putBytes(renewed.client.https, payload.digest, rest, { start: half, size: payload.bytes.length })
    expect((await renewed.submit(manifest, node.sign(manifest))).reason).toBe('BAD_SIGNATURE')
    expect((await renewed.submit(manifest)).reason).toBeUndefined()
    renewed.close()
  })

  test.each<[string, KeyName]>([
    ['before it was sent', 'next.json'],
    ['before its answer was kept', 'node.key'],
    ['between the new key and its certificate', 'tls.pem'],
    ['before anything was made', 'chain.json'],
  ])('that was cut off %s is finished by the next call', async (what, at) => {
    const node = await network.addNode(`cut-off-at-${at.replace('.', '-')}`, ['en'])
    await expect(changeNodeKeys(failingAt(node.directory, at), network.clock), what).rejects.toThrow('cut off')
    const finished = await finishKeyChange(node.directory, network.clock)
    expect(await changeNodeKeys(node.directory, network.clock)).toMatchObject({
      number: finished === undefined ? 1 : 2,
    })
    const renewed = await reopened(node.directory)
    await anyCall(renewed)
    renewed.close()
  })

  /** A directory whose process dies after it has written one file. */
  function failingAt(directory: NodeDirectory, name: KeyName): NodeDirectory {
    return {
      ...directory,
      async writeKey(key, text) {
        await directory.writeKey(key, text)
        if (key === name) throw new Error('cut off')
      },
    }
  }
})

describe('a verified exit', () => {
  let folder: string

  /** A command of the product, in this process; a failure is its error. */
  async function tapestry(...words: string[]): Promise<Record<string, unknown>> {
    let text = ''
    const stdout = { write: (more: string) => (text += more) }
    const stderr = { write: () => true }
    const io = {
      stdout,
      stderr,
      env: { HOME: network.root },
      clock: network.clock,
      stopSignal: () => AbortSignal.abort(),
    }
    const program = await createProgram(words, io)
    await program.parseAsync([...words, '--json'], { from: 'user' })
    return JSON.parse(text)
  }

  const verify = (path: string, federation: string = network.federation) =>
    tapestry('node', 'export', path, '--verify', '--trust', federation)

  /** A copy of the export that a test may spoil. */
  async function copy(name: string): Promise<string> {
    const path = join(network.root, name)
    await cp(folder, path, { recursive: true })
    return path
  }

  const documentsIn = async (path: string) =>
    (await readdir(join(path, 'documents'))).map((name) => join(path, 'documents', name))

  beforeAll(async () => {
    const node = await network.addNode('exporter', ['en'])
    const run = await network.createRun('exported', { target: 1, quorum: 1, rounds: 1 })
    await network.startRound(run)
    expect(await node.run({ run })).toMatchObject({ finished: 1 })
    await changeNodeKeys(node.directory, network.clock)
    folder = join(network.root, 'exit')
    await tapestry('node', 'export', folder, '--dir', node.directory.root)
    await leaveFederation(node.directory, 'stay')
    await tapestry('node', 'export', folder, '--dir', node.directory.root)
  })

  test('holds all that the node signed and all that was decided about it', async () => {
    const proof = await verify(folder)
    // Its birth, its record, its contribution, a change of keys and its farewell.
    expect(proof).toMatchObject({ verified: true, documents: 5, keyChanges: 1, receipts: 1 })
    expect(proof['log']).toMatchObject({ weights: [{ weight: 1 }] })
  })

  test('is refused with a document changed or missing, or of another federation', async () => {
    const other = `sha256:${'0'.repeat(64)}`
    await expect(verify(folder, other)).rejects.toMatchObject({ code: 'WRONG_FEDERATION' })
    const missing = await copy('exit-missing')
    for (const path of await documentsIn(missing)) {
      await rm(path)
      await expect(verify(missing), path).rejects.toMatchObject({ code: 'VERIFICATION_FAILED' })
      await cp(folder, missing, { recursive: true })
    }
    const changed = await copy('exit-changed')
    for (const path of await documentsIn(changed)) {
      const said = JSON.parse(await readFile(path, 'utf8'))
      await writeFile(path, JSON.stringify({ ...said, text: said.text.replace(/"node(Key)?":"./, '$&x') }))
      await expect(verify(changed), path).rejects.toMatchObject({ code: 'VERIFICATION_FAILED' })
      await cp(folder, changed, { recursive: true })
    }
  })

  test('without the log still holds, and says that it may not be everything', async () => {
    const bare = await copy('exit-bare')
    await rm(join(bare, 'log'), { recursive: true })
    expect(await verify(bare)).toMatchObject({ verified: true, log: null })
  })
})
