import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { canonicalBytes } from '../../src/core/canonical-json.ts'
import { digestOf } from '../../src/core/digest.ts'
import { ensureRecordId } from '../../src/core/ids.ts'
import { ensureJurisdiction } from '../../src/core/jurisdiction.ts'
import { DOMAINS } from '../../src/core/signature.ts'
import { OperatorService } from '../../src/gen/proto/tapestry/v1/operator_pb.ts'
import { RecordService } from '../../src/gen/proto/tapestry/v1/record_pb.ts'
import { signatureMessage } from '../../src/participant/wire.ts'
import { type DatasetRecord, datasetRecordBytes, withdrawalBytes } from '../../src/policy/dataset-record.ts'
import { datasetTerms } from '../dataset-records.ts'
import { TestNetwork, WINDOW_MS } from '../network.ts'
import { type Document, documentBytes } from './payload.ts'
import type { Place, TestNode } from './test-node.ts'

const THREE_DAYS_MS = 3 * 24 * 3600 * 1000
const given = datasetTerms().consent

let network: TestNetwork
let node: TestNode
let other: TestNode
let serial = 0

beforeAll(async () => {
  network = await TestNetwork.create({ participants: 2 })
  ;[node, other] = network.nodes as [TestNode, TestNode]
})

afterAll(() => network?.close())

type Change = Partial<Omit<DatasetRecord, 'format'>>

/** A record of its own text under an id of its own, unless told otherwise. */
function recordBytes(of: TestNode, change: Change = {}): Uint8Array {
  const name = `record-${++serial}`
  const { federation, node: id } = of.membership
  const terms = datasetTerms({ id: ensureRecordId(name), languages: [of.language as never] })
  return datasetRecordBytes({ ...terms, federation, node: id, content: digestOf(name), ...change })
}

async function register(from: TestNode, bytes: Uint8Array, signer = from): Promise<string> {
  const signature = signatureMessage(signer.sign(bytes, DOMAINS.record))
  return (await from.client.call(RecordService.method.registerRecord, { record: bytes, signature })).digest
}

async function withdraw(from: TestNode, id: string, signer = from): Promise<readonly string[]> {
  const { federation, node: self } = signer.membership
  const bytes = withdrawalBytes({ federation, node: self, id: ensureRecordId(id), withdrawn: '2026-11-23' })
  const signature = signatureMessage(signer.sign(bytes, DOMAINS.withdrawal))
  return (await from.client.call(RecordService.method.withdrawRecord, { withdrawal: bytes, signature })).digests
}

/** A round that collects, of both nodes. */
async function collecting(policy: Parameters<TestNetwork['createRun']>[1] = {}): Promise<Place> {
  const place = await network.startRound(
    await network.createRun(`run-${++serial}`, { target: 2, quorum: 1, ...policy }),
  )
  for (const one of [node, other]) await one.join(place.key)
  return place
}

/** Hands in a good delta with these records instead of its own. */
async function submit(place: Place, records: unknown, change: Document = {}): Promise<string | undefined> {
  const payload = node.delta(network.tensors)
  await node.upload(payload)
  return (await node.submit(documentBytes({ ...node.claim(place, payload), ...change, records } as Document))).reason
}

const all = (...digests: string[]) =>
  digests.map((digest, index) => ({ digest, languages: [{ language: node.language, tokens: index === 0 ? 64 : 0 }] }))

describe('registering', () => {
  test('takes a record once, however often it is sent', async () => {
    const bytes = recordBytes(node)
    expect(await register(node, bytes)).toBe(digestOf(bytes))
    expect(await register(node, bytes)).toBe(digestOf(bytes))
  })

  test.each([
    ['of another node', 'PERMISSION_DENIED', () => register(node, recordBytes(other))],
    ['signed by another node', 'VERIFICATION_FAILED', () => register(node, recordBytes(node), other)],
    [
      'for another federation',
      'WRONG_FEDERATION',
      () => register(node, recordBytes(node, { federation: digestOf('elsewhere') as never })),
    ],
    ['that is no record', 'VERIFICATION_FAILED', () => register(node, canonicalBytes({ text: 'once upon a time' }))],
    ['that is cut off', 'VERIFICATION_FAILED', () => register(node, recordBytes(node).subarray(0, 200))],
    ['withdrawn by another node', 'PERMISSION_DENIED', () => withdraw(node, 'record', other)],
    ['withdrawn before it was registered', 'NOT_FOUND', () => withdraw(node, 'nothing')],
  ] as const)('refuses one %s', async (_, code, call) => {
    await expect(call()).rejects.toMatchObject({ code })
  })

  test('shows strangers public records only, a node its own, operators all', async () => {
    const secret = await register(node, recordBytes(node, { public: false }))
    const open = await register(node, recordBytes(node, { public: true }))
    const seen = async (by: Pick<TestNode['client'], 'call'>) => {
      const { records } = await by.call(RecordService.method.listRecords, { node: node.id })
      return records.map(({ digest }) => digest)
    }
    const stranger = await seen(network.channel() as never)
    expect(stranger).toContain(open)
    expect(stranger).not.toContain(secret)
    expect(await seen(other.client)).not.toContain(secret)
    expect(await seen(node.client)).toContain(secret)
    expect(await seen(network.operator as never)).toContain(secret)
  })
})

describe('submitting', () => {
  let place: Place

  beforeAll(async () => {
    place = await collecting({ collectWindowMs: THREE_DAYS_MS })
  })

  const refusals: readonly [string, string, () => Promise<string | undefined>][] = [
    ['no records', 'NO_RECORD', () => submit(place, undefined)],
    ['a record nobody registered', 'NO_RECORD', () => submit(place, all(digestOf('nothing')))],
    ["another node's record", 'NO_RECORD', () => submit(place, all(other.record))],
    ['an empty list', 'INVALID_REPORT', () => submit(place, [])],
    ['a record twice', 'INVALID_REPORT', () => submit(place, all(node.record, node.record))],
    [
      'tokens that do not add up',
      'INVALID_REPORT',
      () => submit(place, [{ digest: node.record, languages: [{ language: node.language, tokens: 63 }] }]),
    ],
    [
      'a language that the record does not declare',
      'INVALID_REPORT',
      async () => submit(place, all(await register(node, recordBytes(node, { languages: ['yo' as never] })))),
    ],
    ...(
      [
        ['share-alike text', 'LICENCE_NOT_CARRIED', { licence: 'CC-BY-SA-4.0' }],
        ['a licence nobody knows', 'LICENCE_UNKNOWN', { licence: 'LicenseRef-mine' }],
        ['a use that was not allowed', 'USE_NOT_ALLOWED', { uses: ['evaluation'] }],
        ['a reach that was not allowed', 'USE_NOT_ALLOWED', { stages: ['national'] }],
        ['residency elsewhere', 'RESIDENCY', { residency: { training: [ensureJurisdiction('KE')] } }],
        ['consent to come', 'CONSENT_PENDING', { consent: { ...given, granted: '2999-01-01' } }],
        ['consent that ended', 'CONSENT_EXPIRED', { consent: { ...given, expires: '2001-01-01' } }],
      ] satisfies readonly [string, string, Change][]
    ).map(([name, reason, change]): [string, string, () => Promise<string | undefined>] => [
      name,
      reason,
      async () => submit(place, all(await register(node, recordBytes(node, change)))),
    ]),
    [
      'consent that ends in the middle of the round',
      'CONSENT_EXPIRED',
      async () => {
        const tomorrow = new Date(network.clock.now() + 24 * 3600 * 1000).toISOString().slice(0, 10)
        const bytes = recordBytes(node, { consent: { ...given, expires: tomorrow } })
        return submit(place, all(await register(node, bytes)))
      },
    ],
    [
      'licences that clash',
      'LICENCE_CLASH',
      async () => {
        const licences = ['CC-BY-SA-4.0', 'CC-BY-NC-SA-4.0']
        const digests = await Promise.all(licences.map((licence) => register(node, recordBytes(node, { licence }))))
        return submit(place, all(...digests))
      },
    ],
  ]

  test.each(refusals)('%s is refused: %s', async (_, reason, attempt) => {
    expect(await attempt()).toBe(reason)
  })

  test('is accepted with a record in order, whose tokens are counted', async () => {
    expect(await submit(place, all(node.record))).toBeUndefined()
    const [contribution] = await network.store.reader.contributions(place.key)
    expect(contribution?.records).toEqual([{ record: node.record, language: node.language, tokens: 64 }])
  })

  test('share-alike text goes where its licence is carried, and no channel carries two licences', async () => {
    const demands = { licence: 'CC-BY-SA-4.0', uses: ['pretraining'], stage: 'regional', coordinatedIn: null } as const
    await expect(network.createRun('commons', { demands })).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' })
    const run = await network.createRun('commons', { demands, target: 1, quorum: 1 }, undefined, 'commons')
    const commons = await network.startRound(run)
    await node.join(commons.key)
    const digest = await register(node, recordBytes(node, { licence: 'CC-BY-SA-4.0' }))
    expect(await submit(commons, all(digest))).toBeUndefined()
  })
})

describe('a withdrawn dataset', () => {
  test('is refused from then on, under its own and under another id', async () => {
    const place = await collecting({ collectWindowMs: WINDOW_MS })
    const content = digestOf('the same text')
    const first = await register(node, recordBytes(node, { id: ensureRecordId('radio'), content }))
    expect(await withdraw(node, 'radio')).toEqual([first])
    expect(await withdraw(node, 'radio')).toEqual([first])
    expect(await submit(place, all(first))).toBe('CONSENT_WITHDRAWN')
    const twin = await register(node, recordBytes(node, { content }))
    expect(await submit(place, all(twin))).toBe('CONSENT_WITHDRAWN')
    const renamed = await register(node, recordBytes(node, { id: ensureRecordId('radio') }))
    expect(await submit(place, all(renamed))).toBe('CONSENT_WITHDRAWN')
    const { records } = await node.client.call(RecordService.method.adviseRecords, {
      run: place.key.run,
      digests: [twin],
    })
    expect(records.map(({ rejection }) => rejection?.reason)).toEqual(['CONSENT_WITHDRAWN'])
    expect(await submit(place, all(node.record))).toBeUndefined()
  })

  test('cannot be used in a run that asks nothing of records either', async () => {
    const place = await collecting({ demands: null })
    const digest = await register(node, recordBytes(node, { id: ensureRecordId('gone') }))
    await withdraw(node, 'gone')
    expect(await submit(place, all(digest))).toBe('CONSENT_WITHDRAWN')
    expect(await submit(place, undefined)).toBeUndefined()
  })
})

describe('where a member is', () => {
  test('is declared once, by an operator, and opens data that must stay there', async () => {
    const { createInvitation, listNodes } = OperatorService.method
    const { member } = node.membership
    await network.operator.call(createInvitation, { member, jurisdiction: 'KE' })
    await network.operator.call(createInvitation, { member, jurisdiction: 'KE' })
    await expect(network.operator.call(createInvitation, { member, jurisdiction: 'FR' })).rejects.toMatchObject({
      code: 'FAILED_PRECONDITION',
    })
    await expect(network.operator.call(createInvitation, { member, jurisdiction: 'XX' })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    })
    const { nodes } = await network.operator.call(listNodes, {})
    expect(nodes.find(({ id }) => id === node.id)?.jurisdiction).toBe('KE')
    const residency = { training: [ensureJurisdiction('KE')] }
    const digest = await register(node, recordBytes(node, { residency }))
    expect(await submit(await collecting(), all(digest))).toBeUndefined()
  })
})
