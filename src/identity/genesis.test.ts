import { describe, expect, it } from 'vitest'
import { DOMAINS, privateKeyFromPem, signMessage } from '../core/signature.ts'
import { genesisBytes, nodeIdOf, parseGenesis } from './genesis.ts'
import { generateKey } from './key-file.ts'

const node = generateKey('ed25519')
const recovery = generateKey('ed25519')
const GENESIS = { name: 'Universität Köln کتاب‌ها', nodeKey: node.publicKey, recoveryKey: recovery.publicKey }
const bytes = genesisBytes(GENESIS)
const sign = (message: Uint8Array, key = node.privateKey) =>
  signMessage(privateKeyFromPem(key), DOMAINS.genesis, message)
const refusal = (text: string) => {
  const message = Buffer.from(text, 'utf8')
  return () => parseGenesis(message, sign(message))
}

describe('genesis record', () => {
  it('comes back as it was signed and names the node by its hash', () => {
    expect(parseGenesis(bytes, sign(bytes))).toMatchObject(GENESIS)
    expect(nodeIdOf(bytes)).toMatch(/^node-[0-9a-f]{32}$/)
    expect(nodeIdOf(genesisBytes({ ...GENESIS, name: 'other' }))).not.toBe(nodeIdOf(bytes))
  })

  it('is not accepted from another key, another domain or with other bytes', () => {
    const failed = expect.objectContaining({ code: 'VERIFICATION_FAILED' })
    expect(() => parseGenesis(bytes, sign(bytes, recovery.privateKey))).toThrow(failed)
    const enrolment = signMessage(privateKeyFromPem(node.privateKey), DOMAINS.enrolment, bytes)
    expect(() => parseGenesis(bytes, enrolment)).toThrow(failed)
    expect(() => parseGenesis(genesisBytes({ ...GENESIS, name: 'other' }), sign(bytes))).toThrow(failed)
  })

  it('has one spelling', () => {
    const text = Buffer.from(bytes).toString('utf8')
    const invalid = expect.objectContaining({ code: 'INVALID_ARGUMENT' })
    expect(refusal(` ${text}`)).toThrow(invalid)
    expect(refusal(`\ufeff${text}`)).toThrow(invalid)
    expect(refusal(text.replace('"name"', '"extra":1,"name"'))).toThrow(invalid)
    expect(refusal(text.replace('genesis/1', 'genesis/2'))).toThrow(invalid)
    expect(refusal(text.slice(0, -1))).toThrow(invalid)
    expect(refusal('x'.repeat(5000))).toThrow(invalid)
    expect(refusal('null')).toThrow(invalid)
  })

  it.each([
    ['an empty name', { name: '' }],
    ['a long name', { name: 'x'.repeat(65) }],
    ['an escape sequence', { name: 'a\u001b[31m' }],
    ['a direction override', { name: 'a\u202eb' }],
    ['half a surrogate pair', { name: 'a\ud800' }],
    ['spaces at the end', { name: 'a ' }],
    ['the same key twice', { recoveryKey: node.publicKey }],
    ['a P-256 key', { nodeKey: generateKey('p-256').publicKey }],
    ['a private key', { nodeKey: node.privateKey }],
    ['no key', { recoveryKey: 'none' }],
  ])('refuses %s', (_, change) => {
    expect(() => genesisBytes({ ...GENESIS, ...change })).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  })
})
