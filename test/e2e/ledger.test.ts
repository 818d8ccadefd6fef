import { once } from 'node:events'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { request } from 'node:https'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createProgram } from '../../src/cli/program.ts'
import { LedgerService } from '../../src/gen/proto/tapestry/v1/ledger_pb.ts'
import { RoundPhase } from '../../src/gen/proto/tapestry/v1/round_pb.ts'
import { INFLUENCE_POLICY } from '../../src/policy/influence.ts'
import { type ReadLog, readExport, readReceipt } from '../ledger-reader.ts'
import { TestNetwork } from '../network.ts'
import { documentBytes } from './payload.ts'

let network: TestNetwork
let exported: string
let log: ReadLog

/** A command of the product, in this process; a failure is its error. */
async function tapestry(...words: string[]): Promise<Record<string, unknown>> {
  let text = ''
  const stdout = { write: (more: string) => (text += more) }
  const stderr = { write: () => true }
  const env = { HOME: network.root }
  const io = { stdout, stderr, env, clock: network.clock, stopSignal: () => AbortSignal.timeout(60_000) }
  const program = await createProgram(words, io)
  await program.parseAsync([...words, '--json'], { from: 'user' })
  return JSON.parse(text)
}

const stranger = () => ['--from', network.address, '--trust', network.federation]

/** One file of the log as a stranger gets it, with nothing but HTTPS. */
async function get(path: string): Promise<{ status: number; type: string; bytes: Buffer }> {
  const { host, port, tls } = network.channel().https
  const sent = request({ ...tls, host, port, path, agent: false })
  sent.end()
  const [response] = await once(sent, 'response')
  const chunks: Buffer[] = []
  for await (const chunk of response) chunks.push(chunk)
  return { status: response.statusCode, type: String(response.headers['content-type']), bytes: Buffer.concat(chunks) }
}

/** A round whose candidate the nodes, by hand, find better or worse than its base. */
async function reviewedRound(candidateLoss: number): Promise<void> {
  const place = await network.startRound()
  for (const node of network.nodes) await node.join(place.key)
  for (const node of network.nodes) await node.contribute(place, network.tensors)
  const { round } = await network.roundIn(place.key, RoundPhase.EVALUATING)
  for (const node of network.nodes) {
    const review = node.review(place, round?.candidateDigest ?? '')
    const score = (mean: number) => ({ mean, standardError: 0.001, tokens: 100 })
    const languages = [{ language: node.language, community: '', base: score(3), candidate: score(candidateLoss) }]
    await node.report(documentBytes({ ...review, languages }))
  }
  await network.roundEnded(place.key)
}

beforeAll(async () => {
  network = await TestNetwork.create({ participants: 2 })
  const { key } = await network.startRound()
  await Promise.all(network.nodes.map((node) => node.run({ rounds: 1 })))
  await network.roundEnded(key)
  await reviewedRound(4)
  exported = join(network.root, 'export')
  await tapestry('log', 'export', exported, ...stranger())
  log = readExport(exported, network.federation)
})

afterAll(() => network?.close())

describe('the log of a federation that did two rounds', () => {
  test('says what happened, in order, without holes', () => {
    const types = log.entries.map(({ type }) => type)
    expect(types).toEqual([
      'federation-created',
      ...['enrolment', 'record-registered', 'enrolment', 'record-registered'],
      ...['run-created', 'release'],
      ...['contribution', 'contribution', 'weights', 'scores', 'release'],
      ...['contribution', 'contribution', 'weights', 'scores', 'release-refused'],
    ])
  })

  test('says what the store says', async () => {
    const { reader } = network.store
    const key = { run: network.run, number: 1 }
    const rows = await reader.contributions(key)
    const contributions = log.entries.filter(({ type, round }) => type === 'contribution' && round === 1)
    expect(contributions.map(({ contribution }) => contribution).sort()).toEqual(rows.map(({ id }) => id).sort())
    const [weights] = log.entries.filter(({ type }) => type === 'weights')
    expect(weights).toMatchObject({
      policy: INFLUENCE_POLICY,
      weights: rows.map(({ id, weight }) => ({ contribution: id, weight: weight?.value, reason: weight?.reason })),
    })
    const head = await reader.checkpointByVersion(network.run, 1)
    const releases = log.entries.filter(({ type }) => type === 'release')
    expect(releases.map(({ version }) => version)).toEqual([0, 1])
    expect(releases.at(-1)).toMatchObject({ checkpoint: head?.digest, round: 1, parent: head?.parent })
  })

  test('holds no name and no text', async () => {
    const all = JSON.stringify(log.entries)
    for (const node of network.nodes) expect(all).not.toContain(`"${node.name}"`)
    expect(all).not.toContain('BEGIN')
  })

  test('was watched by the nodes, who hold receipts that a stranger can check', async () => {
    for (const node of network.nodes) {
      const ledger = join(node.directory.root, 'ledger')
      expect((await readdir(ledger)).sort()).toEqual(['checkpoint.json', 'documents', 'receipts'])
      const path = join(ledger, 'receipts', network.run, '1.json')
      expect(readReceipt(await readFile(path, 'utf8'), network.federation)).toMatchObject({ node: node.id, round: 1 })
      const verified = await tapestry('log', 'verify', path, '--trust', network.federation)
      expect(verified).toMatchObject({ verified: true, what: 'receipt' })
    }
  })

  test('is the same over HTTPS, file by file', async () => {
    const files = (await readdir(exported, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile())
    for (const entry of files) {
      const path = join(entry.parentPath, entry.name)
      const served = await get(`/log/${path.slice(exported.length + 1)}`)
      if (entry.name === 'log.json') expect(served.status).toBe(404)
      else expect(served.bytes).toEqual(await readFile(path))
    }
    expect(files).toHaveLength(4)
    expect((await get('/log/checkpoint')).type).toBe('text/plain; charset=utf-8')
    // Earlier states, which the log has passed, and none that it has not reached.
    expect((await get('/log/tile/0/000.p/3')).bytes).toEqual((await get('/log/tile/0/000.p/17')).bytes.subarray(0, 96))
    for (const path of ['tile/0/000', 'tile/0/000.p/18', 'tile/entries/001', 'tile/1/000.p/1', 'tile/0/../0/000', '']) {
      expect((await get(`/log/${path}`)).status).toBe(404)
    }
  })

  test('is proved to whoever asks, and to nobody what is not so', async () => {
    const channel = network.channel()
    const { getReceipt, getInclusionProof, getConsistencyProof, listEntries } = LedgerService.method
    const release = await network.store.reader.checkpointByVersion(network.run, 1)
    const { receipt } = await channel.call(getReceipt, { ref: release?.digest ?? '' })
    expect(JSON.parse(Buffer.from(receipt?.entry ?? []).toString())).toMatchObject({ type: 'release', version: 1 })
    const absent = { code: 'NOT_FOUND' }
    await expect(channel.call(getReceipt, { ref: 'sha256:0' })).rejects.toMatchObject(absent)
    await expect(channel.call(getReceipt, { ref: '17' })).rejects.toMatchObject(absent)
    const wrong = { code: 'INVALID_ARGUMENT' }
    await expect(channel.call(getInclusionProof, { index: 3n, size: 99n })).rejects.toMatchObject(wrong)
    await expect(channel.call(getInclusionProof, { index: 9n, size: 9n })).rejects.toMatchObject(wrong)
    await expect(channel.call(getInclusionProof, { index: 2n ** 63n, size: 9n })).rejects.toMatchObject(wrong)
    await expect(channel.call(getConsistencyProof, { first: 9n, second: 8n })).rejects.toMatchObject(wrong)
    await expect(channel.call(getConsistencyProof, { first: 9n, second: 2n ** 64n - 1n })).rejects.toMatchObject(wrong)
    await expect(channel.call(listEntries, { limit: 257 })).rejects.toMatchObject(wrong)
    expect((await channel.call(listEntries, { start: 2n ** 52n })).entries).toEqual([])
  })

  test('answers tapestry log checkpoint, prove and verify', async () => {
    expect(await tapestry('log', 'checkpoint', ...stranger())).toMatchObject({ size: 17, root: log.root })
    const receipt = JSON.stringify(await tapestry('log', 'prove', '5', ...stranger()))
    expect(readReceipt(receipt, network.federation)).toEqual(log.entries[5])
    const path = join(network.root, 'receipt.json')
    await tapestry('log', 'prove', network.nodes[0]?.id ?? '', ...stranger(), '--output', path)
    expect(readReceipt(await readFile(path, 'utf8'), network.federation)).toMatchObject({ type: 'enrolment' })
    const verified = await tapestry('log', 'verify', exported, '--trust', network.federation)
    expect(verified).toMatchObject({ verified: true, what: 'export', size: 17, root: log.root })
    await writeFile(path, (await readFile(path, 'utf8')).replace('enrolment', 'enrolmemt'))
    const forged = tapestry('log', 'verify', path, '--trust', network.federation)
    await expect(forged).rejects.toMatchObject({ code: 'VERIFICATION_FAILED' })
  })
})
