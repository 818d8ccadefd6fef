import { createPublicKey } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { digestOf, ensureDigest } from '../../src/core/digest.ts'
import { DOMAINS, keyIdOf, privateKeyFromPem, signMessage } from '../../src/core/signature.ts'
import { ContributionService, SummaryKey } from '../../src/gen/proto/tapestry/v1/contribution_pb.ts'
import { OperatorService } from '../../src/gen/proto/tapestry/v1/operator_pb.ts'
import { RoundPhase } from '../../src/gen/proto/tapestry/v1/round_pb.ts'
import { parseManifest } from '../../src/model/manifest.ts'
import { operatorRecordBytes } from '../../src/model/operator-record.ts'
import { signOverride } from '../../src/model/override.ts'
import { verifyReleasedOverride } from '../../src/model/released-override.ts'
import { readSafetensors, writeSafetensors } from '../../src/model/safetensors.ts'
import { fetchFederation } from '../../src/participant/federation.ts'
import { engineTrainer, type Trainer } from '../../src/participant/trainer.ts'
import { signatureMessage } from '../../src/participant/wire.ts'
import { commandsOf } from '../command.ts'
import { readExport } from '../ledger-reader.ts'
import { MICRO_SPEC, TestNetwork } from '../network.ts'
import { documentBytes } from './payload.ts'
import type { Place, TestNode } from './test-node.ts'
import { until } from './waiting.ts'

const SPEC = {
  ...MICRO_SPEC,
  training: { ...MICRO_SPEC.training, localSteps: 40 },
  evaluation: { heldOutFraction: 0.3, maxSequences: 32 },
}
const OFFICES = ['chair', 'ethics', 'north', 'south']

type Account = {
  readonly key: string
  readonly accepted: number
  readonly weight: number
  readonly refusals: Readonly<Record<string, number>>
  readonly effects: Readonly<Record<string, number>>
  readonly effectMethod: string
}

const failed = expect.objectContaining({ code: 'VERIFICATION_FAILED' })

let network: TestNetwork
let tapestry: ReturnType<typeof commandsOf>
let blocked: Place

const dir = () => ['--dir', network.directory]
const keyFile = (office: string) => join(network.root, `${office}.key`)
const json = async (...words: string[]) => JSON.parse(await tapestry(...words, ...dir(), '--json'))
const signed = (office: string) =>
  json('round', 'override', `run/${blocked.key.number}`, '--reason', `${office} agrees`, '--key', keyFile(office))
const named = (...offices: string[]) => offices.flatMap((office) => ['--operator', `${office}=${keyFile(office)}.pub`])
const signingKey = async (office: string) => privateKeyFromPem(await readFile(keyFile(office), 'utf8'))

/** Trains honestly, and hands in the opposite. */
function reversing(): Trainer {
  const honest = engineTrainer()
  return {
    ...honest,
    async train(task, signal, onProgress) {
      const trained = await honest.train(task, signal, onProgress)
      const tensors = [...(await readSafetensors(task.outDelta))].map(([name, tensor]) => {
        return { name, ...tensor, data: Float32Array.from(tensor.data, (value) => -value) }
      })
      await writeSafetensors(task.outDelta, tensors)
      return trained
    },
  }
}

async function trainedRound(trainerOf: (node: TestNode) => Trainer): Promise<Place> {
  const place = await network.startRound()
  await Promise.all(network.nodes.map((node) => node.run({ rounds: 1, trainer: trainerOf(node) })))
  await network.roundEnded(place.key)
  return place
}

/** A round by hand, whose candidate the nodes find better or worse than its base. */
async function reviewedRound(candidateLoss: number): Promise<Place> {
  const place = await network.startRound()
  for (const node of network.nodes) await node.join(place.key)
  for (const node of network.nodes) await node.contribute(place, network.tensors)
  const { round } = await network.roundIn(place.key, RoundPhase.EVALUATING)
  for (const node of network.nodes) {
    const score = (mean: number) => ({ mean, standardError: 0.001, tokens: 100 })
    const languages = [{ language: node.language, community: '', base: score(3), candidate: score(candidateLoss) }]
    await node.report(documentBytes({ ...node.review(place, round?.candidateDigest ?? ''), languages }))
  }
  await network.roundEnded(place.key)
  return place
}

beforeAll(async () => {
  network = await TestNetwork.create({ spec: SPEC, policy: { target: 2, quorum: 2 } })
  tapestry = commandsOf(network)
  for (const office of OFFICES) await tapestry('operator', 'key', keyFile(office))
  await network.addNode('node-1', ['sw'])
  await network.addNode('node-2', ['vi'])
  await trainedRound(() => engineTrainer())
  blocked = await trainedRound((node) => (node.language === 'vi' ? reversing() : engineTrainer()))
})

afterAll(() => network?.close())

test('the gate blocks a candidate that real nodes find worse in one language only', async () => {
  const { round, languages } = await network.round(blocked.key)
  expect(languages.map(({ language, verdict, difference }) => [language, verdict, difference])).toEqual([
    ['sw', 'better', expect.any(Number)],
    ['vi', 'worse', expect.any(Number)],
  ])
  expect(round).toMatchObject({ phase: RoundPhase.REJECTED, reason: expect.stringMatching(/^vi got worse/) })
  const head = await network.store.reader.run(network.run)
  expect(head?.head).toBe(blocked.base)
})

describe('operators', () => {
  test('are nobody until they are set, and then the gate cannot be overridden', async () => {
    expect(await json('operator', 'ls')).toBeNull()
    await expect(signed('chair')).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' })
  })

  test('are set once by the authority alone, in numbers that can sign', async () => {
    const set = (threshold: string) =>
      json('operator', 'set', '--threshold', threshold, ...named('chair', 'ethics', 'north'))
    for (const threshold of ['0', '-1', '4', '1.5']) {
      await expect(set(threshold)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    }
    expect(await set('2')).toMatchObject({ standing: true })
    const { threshold, version, operators } = await json('operator', 'ls')
    expect([threshold, version]).toEqual([2, 1])
    expect(operators.map(({ name }: { name: string }) => name).sort()).toEqual(['chair', 'ethics', 'north'])
    await expect(set('1')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })

  test('sign alone in vain, and twice as once', async () => {
    for (let times = 0; times < 2; times++) {
      const { signers, needed, carried } = await signed('chair')
      expect([signers.length, needed, carried]).toEqual([1, 2, false])
    }
    expect((await network.round(blocked.key)).round?.phase).toBe(RoundPhase.REJECTED)
  })

  test('are the only ones who can, and only for this candidate of this round', async () => {
    const { round, gate } = await network.round(blocked.key)
    const candidate = ensureDigest(round?.candidateDigest ?? '')
    const about = {
      federation: network.federation,
      run: network.run,
      round: blocked.key.number,
      candidate,
      gate: digestOf(gate),
    }
    const chair = await signingKey('chair')
    const hand = (subject: typeof about, key = chair, channel = network.operator) => {
      const { statement, signature } = signOverride(subject, 'because', key)
      const message = { statement: Buffer.from(statement, 'utf8'), signature: signatureMessage(signature) }
      return channel.call(OperatorService.method.overrideRound, message)
    }
    const refused = async (call: Promise<unknown>, code: string) => expect(call).rejects.toMatchObject({ code })
    await refused(hand(about, await signingKey('south')), 'PERMISSION_DENIED')
    await refused(hand({ ...about, candidate: digestOf('another') }), 'VERIFICATION_FAILED')
    await refused(hand({ ...about, gate: digestOf('another') }), 'VERIFICATION_FAILED')
    await refused(hand({ ...about, round: 1 }), 'FAILED_PRECONDITION')
    await refused(hand({ ...about, round: 99 }), 'NOT_FOUND')
    await refused(hand({ ...about, federation: `sha256:${'0'.repeat(64)}` as never }), 'WRONG_FEDERATION')
    await refused(hand(about, chair, network.nodes[0]?.client as never), 'PERMISSION_DENIED')
    await refused(hand(about, chair, network.channel()), 'UNAUTHENTICATED')
    const { statement } = signOverride(about, 'because', chair)
    const forged = signMessage(chair, DOMAINS.contribution, Buffer.from(statement, 'utf8'))
    const message = { statement: Buffer.from(statement, 'utf8'), signature: signatureMessage(forged) }
    await refused(network.operator.call(OperatorService.method.overrideRound, message), 'PERMISSION_DENIED')
    await refused(network.operator.call(OperatorService.method.overrideRound, {}), 'VERIFICATION_FAILED')
    expect((await network.round(blocked.key)).override?.signers).toHaveLength(1)
  })

  test('change only when enough of those who may have signed the change', async () => {
    const change = (office: string) =>
      json('operator', 'set', '--threshold', '2', ...named('ethics', 'north', 'south'), '--key', keyFile(office))
    await expect(change('south')).rejects.toMatchObject({ code: 'PERMISSION_DENIED' })
    expect(await change('chair')).toMatchObject({ standing: false, needed: 2 })
    expect(await change('chair')).toMatchObject({ standing: false })
    const [one] = [await signingKey('north')]
    const alone = operatorRecordBytes(
      { federation: network.federation, version: 3, previous: digestOf('nothing'), threshold: 1 },
      [{ name: 'north', publicKey: await readFile(`${keyFile('north')}.pub`, 'utf8') }],
    )
    const skipped = { record: alone, signature: signatureMessage(signMessage(one, DOMAINS.operators, alone)) }
    await expect(network.operator.call(OperatorService.method.setOperators, skipped)).rejects.toMatchObject({
      code: 'FAILED_PRECONDITION',
    })
    expect(await change('north')).toMatchObject({ standing: true, needed: 2 })
    expect(await json('operator', 'ls')).toMatchObject({ version: 2, threshold: 2 })
  })
})

describe('an override', () => {
  let live: Place

  test('does not count who may no longer sign', async () => {
    expect((await network.round(blocked.key)).override).toBeUndefined()
    await expect(signed('chair')).rejects.toMatchObject({ code: 'PERMISSION_DENIED' })
    expect(await signed('ethics')).toMatchObject({ carried: false, signers: [{ name: 'ethics' }] })
  })

  test('publishes the candidate with the last signature, and ends the round that went on without it', async () => {
    live = await network.startRound()
    expect(live.base).toBe(blocked.base)
    expect(await signed('south')).toMatchObject({ carried: true })
    const { round } = await until('the candidate is published', async () => {
      const response = await network.round(blocked.key)
      return response.round?.phase === RoundPhase.PUBLISHED ? response : undefined
    })
    const run = await network.store.reader.run(network.run)
    expect(run?.head).toBe(round?.checkpointDigest)
    expect((await network.round(live.key)).round).toMatchObject({ phase: RoundPhase.FAILED, accepted: 0 })
    expect(await json('round', 'inspect', `run/${blocked.key.number}`)).toMatchObject({
      phase: 'published',
      override: { carried: true, needed: 2, signers: [{}, {}] },
    })
    await expect(signed('north')).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' })
  })

  test('is told in the manifest and in the model card, and proved to a stranger offline', async () => {
    const trust = ['--trust', network.federation]
    const model = join(network.root, 'model')
    await tapestry('pull', 'global', '--from', network.address, ...trust, '--output', model)
    await tapestry('verify', model, ...trust)
    const manifest = parseManifest(await readFile(join(model, 'manifest.json')))
    expect(manifest).toMatchObject({ version: 2, round: blocked.key.number, parents: [blocked.base] })
    const reasons = manifest.override?.statements.map(({ statement }) => JSON.parse(statement).reason)
    expect(reasons?.sort()).toEqual(['ethics agrees', 'south agrees'])
    const card = await readFile(join(model, 'README.md'), 'utf8')
    expect(card).toMatch(/## Released by override[\s\S]*ethics agrees/)
    const { override: _, ...unproved } = manifest
    const { record } = await fetchFederation(network.channel(), network.federation)
    expect(verifyReleasedOverride(manifest, record)).toHaveLength(2)
    expect(() => verifyReleasedOverride(unproved, record)).toThrow(failed)
    const replayed = { ...manifest, round: blocked.key.number + 1 }
    expect(() => verifyReleasedOverride(replayed, record)).toThrow(failed)
  })

  test('is in the log, with what went before it', async () => {
    const exported = join(network.root, 'export')
    await tapestry('log', 'export', exported, '--from', network.address, '--trust', network.federation)
    const { entries } = readExport(exported, network.federation)
    const told = entries.slice(entries.findIndex(({ type }) => type === 'release-refused'))
    const { round } = await network.round(blocked.key)
    const key = async (office: string) => keyIdOf(createPublicKey(await signingKey(office)))
    const [first, second] = told.filter(({ type }) => type === 'operators-set')
    expect(told.map(({ type }) => type)).toEqual([
      'release-refused',
      'operators-set',
      'operators-set',
      'release-overridden',
      'release',
    ])
    expect(first).toMatchObject({ version: 1, threshold: 2, previous: null, signers: [] })
    expect(second).toMatchObject({ version: 2, previous: first?.['record'] })
    expect(second?.['signers']).toEqual([await key('chair'), await key('north')].sort())
    expect(told[3]).toMatchObject({
      ...{ candidate: round?.candidateDigest, operators: second?.['record'] },
      signers: [expect.anything(), expect.anything()],
    })
    expect(told[3]?.['signers']).toContainEqual(
      expect.objectContaining({ key: await key('ethics'), reason: 'ethics agrees' }),
    )
    expect(told[4]).toMatchObject({ checkpoint: round?.checkpointDigest, version: 2, parent: blocked.base })
  })

  test('comes too late once the run has published from the same base', async () => {
    blocked = await reviewedRound(4)
    expect(await signed('south')).toMatchObject({ carried: false })
    const next = await reviewedRound(2.9)
    expect(next.base).toBe(blocked.base)
    await expect(signed('north')).rejects.toMatchObject({
      code: 'FAILED_PRECONDITION',
      message: expect.stringContaining('goes on from'),
    })
  })
})

describe('the accounts', () => {
  test.each([
    ['language', ['sw', 'vi']],
    ['community', ['']],
    ['member', ['member-of-node-1', 'member-of-node-2']],
    ['jurisdiction', ['']],
    ['round', [1, 2, 3, 4, 5].map((number) => `run/${number}`)],
  ])('by %s add up to what the rounds say', async (by, keys) => {
    const rows: Account[] = await json('contributions', '--by', by)
    expect(rows.map(({ key }) => key)).toEqual(keys.filter((key) => key !== 'run/3'))
    const { reader } = network.store
    const rounds = await Promise.all([1, 2, 4, 5].map((number) => reader.contributions({ run: network.run, number })))
    const weights = rounds.flat().reduce((sum, { weight }) => sum + (weight?.value ?? 0), 0)
    expect(rows.reduce((sum, { weight }) => sum + weight, 0)).toBeCloseTo(weights, 9)
    // What all did together to a language of the released models is what was measured.
    const records = await Promise.all([1, 2, 5].map((number) => reader.gateRecord({ run: network.run, number })))
    for (const language of ['sw', 'vi']) {
      const measured = records.map(
        (record) => record?.languages.find((one) => one.language === language)?.evidence?.difference ?? 0,
      )
      const told = rows.reduce((sum, { effects }) => sum + (effects[language] ?? 0), 0)
      expect(told).toBeCloseTo(
        measured.reduce((sum, change) => sum + change, 0),
        9,
      )
    }
    expect(rows.every(({ effectMethod }) => effectMethod === 'cosine/1')).toBe(true)
  })

  test('tell refusals by their reasons, and a node its own part alone', async () => {
    const [node, other] = network.nodes
    const place = await network.startRound()
    for (const one of network.nodes) await one.join(place.key)
    const payload = node!.delta(network.tensors)
    await node!.upload(payload)
    for (const languages of [[], [{ language: 'nonsense' }]]) {
      await node!.submit(documentBytes({ ...node!.claim(place, payload), languages }))
    }
    const [row]: Account[] = JSON.parse(
      await tapestry('contributions', '--by', 'node', '--node', node!.directory.root, '--json'),
    )
    expect(row).toMatchObject({ key: node!.id, accepted: 4, rejected: 2 })
    expect(Object.values(row?.refusals ?? {}).reduce((sum, count) => sum + count, 0)).toBe(2)
    const { rows } = await other!.client.call(ContributionService.method.summarizeContributions, {
      by: SummaryKey.MEMBER,
    })
    expect(rows.map(({ key, rejected }) => [key, rejected])).toEqual([['member-of-node-2', 0n]])
    const csv = await tapestry('contributions', '--by', 'member', ...dir(), '--csv')
    const [header, ...lines] = csv.trimEnd().split('\r\n')
    expect(header).toBe(
      'member,accepted,rejected,refusals,tokens,documents,weight,mean_weight,loss_before,loss_after,effect_sw,effect_vi,effect_method',
    )
    expect(lines).toHaveLength(2)
  })
})
