import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { digestOf } from '../core/digest.ts'
import { ensureFederationId } from '../core/ids.ts'
import { DOMAINS, privateKeyFromPem, signMessage } from '../core/signature.ts'
import { genesisBytes, genesisOf } from './genesis.ts'
import {
  bornKeys,
  changeKeys,
  followKeys,
  type KeyRecord,
  keyRecordBytes,
  type NodeKeys,
  nextKeyRecord,
  present,
  type SignedKeyRecord,
} from './key-chain.ts'
import { generateKey, type KeyFile } from './key-file.ts'

const FEDERATION = ensureFederationId(`sha256:${'a'.repeat(64)}`)
const KEYS = Array.from({ length: 12 }, () => generateKey('ed25519'))
const [NODE, RECOVERY, NEXT, OTHER, THIEF] = KEYS as [KeyFile, KeyFile, KeyFile, KeyFile, KeyFile]
const BORN = born('Node')
const refused = expect.objectContaining({ code: 'VERIFICATION_FAILED' })
const outOfOrder = expect.objectContaining({ code: 'FAILED_PRECONDITION' })

function born(name: string): NodeKeys {
  const bytes = genesisBytes({ name, nodeKey: NODE.publicKey, recoveryKey: RECOVERY.publicKey })
  return bornKeys(bytes, genesisOf(bytes))
}

function signed(record: KeyRecord, ...signers: readonly KeyFile[]): SignedKeyRecord {
  const bytes = keyRecordBytes(record)
  const signatures = signers.map(({ privateKey }) => signMessage(privateKeyFromPem(privateKey), DOMAINS.keys, bytes))
  return { text: Buffer.from(bytes).toString('utf8'), signatures }
}

function byNode(keys: NodeKeys, from: KeyFile, to: KeyFile): SignedKeyRecord {
  return signed(nextKeyRecord(keys, FEDERATION, { authority: 'node', nodeKey: to.publicKey }), from, to)
}

function byRecovery(keys: NodeKeys, to: KeyFile, recovery?: KeyFile): SignedKeyRecord {
  const next = { authority: 'recovery', nodeKey: to.publicKey, recoveryKey: recovery?.publicKey } as const
  return signed(nextKeyRecord(keys, FEDERATION, next), RECOVERY, to, ...(recovery ? [recovery] : []))
}

describe('a chain of keys', () => {
  it('grows by what the old and the new node key sign', () => {
    const change = byNode(BORN, NODE, NEXT)
    const keys = changeKeys(BORN, change, FEDERATION)
    expect(keys).toMatchObject({ number: 1, head: digestOf(change.text), nodeKeys: [NODE.publicKey, NEXT.publicKey] })
    expect(followKeys(BORN, [change, byNode(keys, NEXT, OTHER)], FEDERATION).number).toBe(2)
  })

  it('is taken back by the recovery key from whoever holds the node key', () => {
    const stolen = changeKeys(BORN, byNode(BORN, NODE, THIEF), FEDERATION)
    const back = changeKeys(stolen, byRecovery(stolen, NEXT), FEDERATION)
    expect(present(back.nodeKeys)).toBe(NEXT.publicKey)
    expect(() => changeKeys(back, byNode(back, THIEF, OTHER), FEDERATION)).toThrow(refused)
  })

  it('gives a new recovery key only by the old one', () => {
    const keys = changeKeys(BORN, byRecovery(BORN, NEXT, OTHER), FEDERATION)
    expect(present(keys.recoveryKeys)).toBe(OTHER.publicKey)
    expect(() => changeKeys(keys, byRecovery(keys, THIEF), FEDERATION)).toThrow(refused)
    const next = { authority: 'node', nodeKey: NEXT.publicKey, recoveryKey: THIEF.publicKey } as const
    const grab = signed(nextKeyRecord(BORN, FEDERATION, next), NODE, NEXT, THIEF)
    expect(() => changeKeys(BORN, grab, FEDERATION)).toThrow(refused)
  })

  it('refuses a record that is replayed, or one of a fork', () => {
    const change = byNode(BORN, NODE, NEXT)
    const keys = changeKeys(BORN, change, FEDERATION)
    expect(() => changeKeys(keys, change, FEDERATION)).toThrow(outOfOrder)
    expect(() => changeKeys(keys, byNode(BORN, NODE, OTHER), FEDERATION)).toThrow(outOfOrder)
  })

  it('refuses a forged record: too few signatures, strangers, or one too many', () => {
    const record = nextKeyRecord(BORN, FEDERATION, { authority: 'node', nodeKey: NEXT.publicKey })
    for (const signers of [[], [NODE], [NEXT], [THIEF, NEXT], [NODE, NODE], [RECOVERY, NEXT], [NODE, NEXT, THIEF]]) {
      expect(() => changeKeys(BORN, signed(record, ...signers), FEDERATION)).toThrow(refused)
    }
    const elsewhere = ensureFederationId(`sha256:${'b'.repeat(64)}`)
    expect(() => changeKeys(BORN, signed(record, NODE, NEXT), elsewhere)).toThrow(refused)
    expect(() => changeKeys(born('Other'), signed(record, NODE, NEXT), FEDERATION)).toThrow(refused)
  })

  it('never brings an old key back', () => {
    const keys = changeKeys(BORN, byRecovery(BORN, NEXT, OTHER), FEDERATION)
    for (const old of [NODE, NEXT, RECOVERY, OTHER]) {
      expect(() => changeKeys(keys, byNode(keys, NEXT, old), FEDERATION)).toThrow(refused)
    }
    const same = { authority: 'recovery', nodeKey: THIEF.publicKey, recoveryKey: THIEF.publicKey } as const
    const one = signed(nextKeyRecord(keys, FEDERATION, same), OTHER, THIEF, THIEF)
    expect(() => changeKeys(keys, one, FEDERATION)).toThrow(refused)
  })

  it('refuses any other bytes with a code of its own', () => {
    const { text, signatures } = byNode(BORN, NODE, NEXT)
    fc.assert(
      fc.property(fc.nat(text.length - 1), fc.integer({ min: 32, max: 126 }), (at, code) => {
        const changed = text.slice(0, at) + String.fromCharCode(code) + text.slice(at + 1)
        if (changed === text) return
        const attempt = () => changeKeys(BORN, { text: changed, signatures }, FEDERATION)
        expect(attempt).toThrow(expect.objectContaining({ name: 'TapestryError' }))
      }),
      { numRuns: 200 },
    )
  })

  it('holds whoever decides: every key is used once, and the last ones are in force', () => {
    const deciders = fc.array(fc.constantFrom('node', 'recovery', 'both'), { maxLength: 4 })
    fc.assert(
      fc.property(deciders, (played) => {
        let [node, recovery] = [NODE, RECOVERY]
        const fresh = KEYS.slice(2)
        const changes: SignedKeyRecord[] = []
        let keys = BORN
        for (const who of played) {
          const next = fresh.pop() ?? OTHER
          const renewed = who === 'both' ? (fresh.pop() ?? OTHER) : undefined
          const authority = who === 'node' ? 'node' : 'recovery'
          const decides = who === 'node' ? node : recovery
          const fields = { authority, nodeKey: next.publicKey, recoveryKey: renewed?.publicKey } as const
          const signers = [decides, next, ...(renewed ? [renewed] : [])]
          changes.push(signed(nextKeyRecord(keys, FEDERATION, fields), ...signers))
          keys = followKeys(BORN, changes, FEDERATION)
          node = next
          recovery = renewed ?? recovery
        }
        expect([present(keys.nodeKeys), present(keys.recoveryKeys)]).toEqual([node.publicKey, recovery.publicKey])
        expect(new Set([...keys.nodeKeys, ...keys.recoveryKeys]).size).toBe(
          keys.nodeKeys.length + keys.recoveryKeys.length,
        )
        expect(keys.number).toBe(played.length)
      }),
      { numRuns: 60 },
    )
  })
})
