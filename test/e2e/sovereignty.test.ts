import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ensureRecordId, type RunId } from '../../src/core/ids.ts'
import { ensureLanguageTag } from '../../src/core/language-tag.ts'
import type { DataSource } from '../../src/engine/sources.ts'
import { RoundPhase } from '../../src/gen/proto/tapestry/v1/round_pb.ts'
import { readDataset } from '../../src/participant/dataset-file.ts'
import { addDataset } from '../../src/participant/datasets.ts'
import { type Declarant, tellWithdrawal, withdraw } from '../../src/participant/declare.ts'
import type { NodeEvent } from '../../src/participant/node-event.ts'
import { readPolicy, readRefusals } from '../../src/participant/policy-file.ts'
import { datasetTerms } from '../dataset-records.ts'
import { TestNetwork } from '../network.ts'
import type { TestNode } from './test-node.ts'
import { writeTexts } from './texts.ts'

let network: TestNetwork
let node: TestNode
let serial = 0

beforeAll(async () => {
  network = await TestNetwork.create({ participants: 1 })
  node = network.nodes[0] as TestNode
})

afterAll(() => network?.close())

/** One round of one node, run as the product runs it, until it ends or the node declines. */
async function oneRound(policy: Parameters<TestNetwork['createRun']>[1] = {}) {
  const run = await network.createRun(`run-${++serial}`, { target: 1, quorum: 1, rounds: 1, ...policy })
  const { key } = await network.startRound(run)
  const events = await eventsOf(run)
  return { key, events, of: (type: NodeEvent['type']) => events.filter((event) => event.type === type) }
}

async function eventsOf(run: RunId): Promise<NodeEvent[]> {
  const stop = new AbortController()
  const events: NodeEvent[] = []
  const onEvent = (event: NodeEvent) => {
    events.push(event)
    if (event.type === 'declined') stop.abort()
  }
  await node.run({ run, signal: stop.signal, onEvent })
  return events
}

/** A second dataset beside the node's own. */
async function addText(name: string, language: string, licence: string): Promise<readonly DataSource[]> {
  const sources = await writeTexts(join(network.root, 'texts', name), name, [language])
  const terms = datasetTerms({ id: ensureRecordId(name), languages: [ensureLanguageTag(language)], licence })
  await addDataset(node.directory, terms, sources)
  return sources
}

const setPolicy = (yaml: string) => writeFile(node.directory.policyPath, yaml)

test('text that a run cannot carry is left out, the rest is trained on and accounted', async () => {
  await addText('commons', 'fr', 'CC-BY-SA-4.0')
  const { key, of } = await oneRound()
  expect(of('dataset-excluded')).toMatchObject([{ dataset: 'commons', reason: 'LICENCE_NOT_CARRIED' }])
  expect(of('accepted')).toHaveLength(1)
  const { round, contributions } = await network.roundEnded(key)
  expect(round?.phase).toBe(RoundPhase.PUBLISHED)
  const [report] = contributions[0]?.languages ?? []
  expect(contributions[0]?.languages.map(({ language }) => language)).toEqual([node.language])
  const [row] = await network.store.reader.contributions(key)
  expect(row?.records).toEqual([{ record: node.record, language: node.language, tokens: Number(report?.tokens) }])
})

test('two datasets of one language are accounted apart, to the last token', async () => {
  await addText('letters', node.language, 'MIT')
  const { key, of } = await oneRound()
  expect(of('accepted')).toHaveLength(1)
  const [row] = await network.store.reader.contributions(key)
  expect(row?.records).toHaveLength(2)
  expect(row?.records.every(({ tokens }) => tokens > 0)).toBe(true)
  const sum = (counts: readonly { readonly tokens: number }[] = []) =>
    counts.reduce((all, { tokens }) => all + tokens, 0)
  expect(sum(row?.records)).toBe(sum(row?.languages))
})

test('what the node protects is left out before training, whatever the coordinator asks', async () => {
  await setPolicy('protected:\n  terms: [huru]\n  paths: [letters]\n')
  const { of } = await oneRound()
  const [trained] = of('trained')
  expect(trained).toMatchObject({ excluded: { files: 1 } })
  expect(trained?.type === 'trained' && trained.excluded.documents).toBeGreaterThan(0)
  expect(of('accepted')).toHaveLength(1)
})

test.each([
  ['runs', 'runs: [another]\n'],
  ['coordinators', `coordinators: [sha256:${'0'.repeat(64)}]\n`],
  ['uses', 'uses: [evaluation]\n'],
  ['licences', 'licences: [CC-BY-4.0]\n'],
  ['maxBytes', 'maxBytes: 10\n'],
  ['maxNorm', 'maxNorm: 1e-12\n'],
])('a node declines by its own rule, and keeps that: %s', async (rule, yaml) => {
  await setPolicy(yaml)
  const { key, of } = await oneRound()
  expect(of('declined')).toMatchObject([{ rule }])
  expect(of('uploaded')).toEqual([])
  expect(await readRefusals(node.directory, 1)).toMatchObject([{ run: key.run, round: key.number, rule }])
})

test('a policy that cannot be read stops the node', async () => {
  await setPolicy('privacy: 2\n')
  await expect(eventsOf(network.run)).rejects.toMatchObject({ code: 'DATA_INVALID' })
  await setPolicy('protected: { termFiles: [nowhere.txt] }\n')
  await expect(eventsOf(network.run)).rejects.toMatchObject({ code: 'DATA_INVALID' })
})

test('a dataset that was withdrawn is trained on no more, and without another the node takes no part', async () => {
  await setPolicy('# nothing is limited\n')
  const declarant: Declarant = {
    directory: node.directory,
    client: node.client,
    nodeKey: node.key,
    policy: await readPolicy(node.directory),
  }
  for (const id of ['declaration', 'letters']) {
    await withdraw(declarant, await readDataset(node.directory, ensureRecordId(id)), '2026-11-23')
  }
  await tellWithdrawal(declarant, await readDataset(node.directory, ensureRecordId('letters')))
  const { of } = await oneRound()
  expect(of('declined')).toMatchObject([{ rule: 'records' }])
  expect((await readDataset(node.directory, ensureRecordId('declaration'))).withdrawal?.told).toBe(true)
  const rows = await network.store.reader.findDatasetRecords({ node: node.membership.node, limit: 10 })
  const standing = rows.filter(({ withdrawnAt }) => withdrawnAt === null).map(({ id }) => id)
  expect([...new Set(standing)]).toEqual(['commons'])
})
