import { createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { beforeAll, describe, expect, it } from 'vitest'
import { canonicalBytes } from '../core/canonical-json.ts'
import { digestOf } from '../core/digest.ts'
import { ensureRunId } from '../core/ids.ts'
import { DOMAINS, privateKeyFromPem, signMessage } from '../core/signature.ts'
import { createAuthority, federationIdOf } from '../identity/certificate-authority.ts'
import {
  operatorRecordBytes,
  parseOperatorRecord,
  type SignedOperatorRecord,
  signOperatorRecord,
} from './operator-record.ts'
import { type Override, type OverrideSubject, signOverride, verifyOverride } from './override.ts'

const failed = expect.objectContaining({ code: 'VERIFICATION_FAILED' })
const wrong = expect.objectContaining({ code: 'INVALID_ARGUMENT' })
const NAMES = ['chair', 'ethics', 'north']

let authority: { id: OverrideSubject['federation']; caCertificate: string; key: KeyObject }
let keys: KeyObject[]
let operators: SignedOperatorRecord
let subject: OverrideSubject

const publicPem = (key: KeyObject) => createPublicKey(key).export({ type: 'spki', format: 'pem' }).toString()

/** The n-th operator's key. */
function keyOf(n: number): KeyObject {
  const key = keys[n]
  if (key === undefined) throw new Error(`there is no operator ${n}`)
  return key
}

const newKey = () => generateKeyPairSync('ed25519').privateKey

function record(threshold: number, signers: readonly KeyObject[] = keys, federation = authority.id): Uint8Array {
  const named = signers.map((key, i) => ({ name: NAMES[i] ?? `office-${i}`, publicKey: publicPem(key) }))
  return operatorRecordBytes({ federation, version: 1, previous: null, threshold }, named)
}

beforeAll(async () => {
  const made = await createAuthority('Test', 1_760_000_000_000)
  const key = privateKeyFromPem(made.key)
  authority = { id: federationIdOf(made.certificate), caCertificate: made.certificate, key }
  keys = NAMES.map(newKey)
  operators = signOperatorRecord(record(2), key)
  subject = {
    federation: authority.id,
    run: ensureRunId('run'),
    round: 3,
    candidate: digestOf('candidate'),
    gate: digestOf('gate'),
  }
})

/** An override by some of the operators, for this subject or another. */
function by(signers: readonly number[], about = subject): Override {
  const statements = signers.map((n) => signOverride(about, `because ${n}`, keyOf(n)))
  return { operators, statements: statements.sort((a, b) => (a.signature.keyId < b.signature.keyId ? -1 : 1)) }
}

describe('an override', () => {
  it('holds when enough operators have signed, and says who and why', () => {
    const signers = verifyOverride(by([0, 2]), subject, authority)
    expect(signers.map(({ operator, reason }) => [operator.name, reason]).sort()).toEqual([
      ['chair', 'because 0'],
      ['north', 'because 2'],
    ])
    expect(verifyOverride(by([0, 1, 2]), subject, authority)).toHaveLength(3)
  })

  it.each<[string, (fine: Override) => Override]>([
    ['too few', () => by([1])],
    ['one key twice', () => by([1, 1])],
    ['nobody', (fine) => ({ ...fine, statements: [] })],
    ['another candidate', () => by([0, 1], { ...subject, candidate: digestOf('other') })],
    ['another finding of the gate', () => by([0, 1], { ...subject, gate: digestOf('other') })],
    ['another round', () => by([0, 1], { ...subject, round: 4 })],
    ['another run', () => by([0, 1], { ...subject, run: ensureRunId('other') })],
    [
      'a stranger',
      (fine) => ({ ...fine, statements: [...fine.statements.slice(1), signOverride(subject, 'why', newKey())] }),
    ],
    [
      'a signature on something else',
      ({ statements: [first, second], ...rest }) => ({
        ...rest,
        statements: [{ statement: second?.statement ?? '', signature: first?.signature ?? { keyId: '', value: '' } }],
      }),
    ],
    [
      'a signature for another purpose',
      (fine) => {
        const [own] = by([0]).statements
        const bytes = Buffer.from(own?.statement ?? '', 'utf8')
        const signature = signMessage(keyOf(0), DOMAINS.contribution, bytes)
        return { ...fine, statements: [...by([1]).statements, { statement: own?.statement ?? '', signature }] }
      },
    ],
    ['operators of their own making', (fine) => ({ ...fine, operators: signOperatorRecord(record(1), newKey()) })],
    [
      'operators of another federation',
      (fine) => {
        const other = record(2, keys, `sha256:${'0'.repeat(64)}` as typeof authority.id)
        return { ...fine, operators: signOperatorRecord(other, authority.key) }
      },
    ],
    [
      'a lower threshold than was signed',
      (fine) => ({
        ...fine,
        operators: { ...fine.operators, record: fine.operators.record.replace('"threshold":2', '"threshold":1') },
      }),
    ],
  ])('by %s does not hold', (_, change) => {
    expect(() => verifyOverride(change(by([0, 1])), subject, authority)).toThrow(failed)
  })

  it.each(['', '  ', 'two\nlines', 'x'.repeat(501), 'turned \u202e round'])('takes no reason such as %j', (reason) => {
    expect(() => signOverride(subject, reason, newKey())).toThrow(wrong)
  })
})

describe('a record of operators', () => {
  it.each([0, -1, 4, 1.5, Number.NaN, Number.POSITIVE_INFINITY])('refuses a threshold of %d of 3', (threshold) => {
    expect(() => record(threshold)).toThrow(wrong)
  })

  it('refuses a key that comes twice, two of one name, and no key at all', () => {
    expect(() => record(1, [keyOf(0), keyOf(0)])).toThrow(wrong)
    const twins = keys.slice(0, 2).map((key) => ({ name: 'chair', publicKey: publicPem(key) }))
    const facts = { federation: authority.id, version: 1, previous: null, threshold: 1 } as const
    expect(() => operatorRecordBytes(facts, twins)).toThrow(wrong)
    expect(() => operatorRecordBytes(facts, [])).toThrow(wrong)
    expect(() => operatorRecordBytes({ ...facts, version: 2 }, twins.slice(1))).toThrow(wrong)
  })

  it('is the same bytes in whatever order the operators are named', () => {
    const named = keys.map((key, i) => ({ name: NAMES[i] ?? '', publicKey: publicPem(key) }))
    const facts = { federation: authority.id, version: 1, previous: null, threshold: 2 } as const
    expect(operatorRecordBytes(facts, named.toReversed())).toEqual(operatorRecordBytes(facts, named))
  })

  it('refuses a key that is listed under the id of another', () => {
    const parsed = parseOperatorRecord(record(2))
    const last = parsed.operators.at(-1)
    const swapped = parsed.operators.map((one) => ({ ...one, publicKey: last?.publicKey ?? '' }))
    const bytes = canonicalBytes({ ...parsed, operators: swapped })
    expect(() => parseOperatorRecord(bytes)).toThrow(failed)
  })
})
