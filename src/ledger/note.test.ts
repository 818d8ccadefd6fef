import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { openCheckpoint, signCheckpoint } from './checkpoint.ts'
import { openNote, signNote, verifierText } from './note.ts'

const failed = expect.objectContaining({ code: 'VERIFICATION_FAILED' })
const name = 'tapestry/test'
const { privateKey, publicKey } = generateKeyPairSync('ed25519')
const signer = { name, key: privateKey }
const verifier = { name, key: publicKey }
const TEXT = 'If you think cryptography is the answer to your problem,\nthen you do not know what your problem is.\n'

describe('a signed note', () => {
  it('is the example that Go documents, signed with its key', () => {
    // golang.org/x/mod/sumdb/note: Example; the key pair is published there.
    const seed = Buffer.from('AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz', 'base64').subarray(1)
    const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed])
    const key = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
    const known = { name: 'PeterNeumann', key: createPublicKey(key) }
    expect(verifierText(known)).toBe('PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW')
    const message =
      'If you think cryptography is the answer to your problem,\nthen you don\u0027t know what your problem is.\n'
    const signature =
      '\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n'
    expect(signNote(message, { name: 'PeterNeumann', key })).toBe(`${message}\n${signature}`)
    expect(openNote(`${message}\n${signature}`, known)).toBe(message)
  })

  it('opens to its text', () => {
    expect(openNote(signNote(TEXT, signer), verifier)).toBe(TEXT)
    const twice = `${TEXT}\n${TEXT}`
    expect(openNote(signNote(twice, signer), verifier)).toBe(twice)
  })

  it('may carry signatures of others', () => {
    const other = { name: 'witness.example', key: generateKeyPairSync('ed25519').privateKey }
    const witness = signNote(TEXT, other).split('\n\n').at(-1) ?? ''
    expect(openNote(`${signNote(TEXT, signer)}${witness}`, verifier)).toBe(TEXT)
    expect(() => openNote(`${TEXT}\n${witness}`, verifier)).toThrow(failed)
  })

  it('does not open with any bit flipped', () => {
    const note = Buffer.from(signNote('a\n', signer))
    for (let bit = 0; bit < note.length * 8; bit++) {
      const forged = Buffer.from(note)
      forged[bit >> 3] = (forged[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      expect(() => openNote(forged.toString('utf8'), verifier)).toThrow(failed)
    }
  })

  it('does not open cut off anywhere, with bytes after it, or under another key or name', () => {
    const note = signNote(TEXT, signer)
    for (let cut = 0; cut < note.length; cut++) expect(() => openNote(note.slice(0, cut), verifier)).toThrow(failed)
    expect(() => openNote(`${note}\n`, verifier)).toThrow(failed)
    expect(() => openNote(`${note}x`, verifier)).toThrow(failed)
    expect(() => openNote(note, { name, key: generateKeyPairSync('ed25519').publicKey })).toThrow(failed)
    expect(() => openNote(note, { name: 'other', key: publicKey })).toThrow(failed)
    expect(() => openNote(`${TEXT.repeat(1000)}\n${note}`, verifier)).toThrow(failed)
  })

  it('holds no control characters, and some text', () => {
    for (const text of ['', '\n', 'no end', 'a\r\n', 'a\0\n', 'a\u0085\n'])
      expect(() => signNote(text, signer)).toThrow(failed)
  })
})

describe('a checkpoint', () => {
  const root = createHash('sha256').digest()

  it('is origin, size and root', () => {
    const note = signCheckpoint({ size: 0, root }, signer)
    expect(note).toMatch(
      /^tapestry\/test\n0\n47DEQpj8HBSa\+\/TImW\+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n\u2014 tapestry\/test \S+\n$/,
    )
    expect(openCheckpoint(note, verifier)).toEqual({ size: 0, root })
  })

  it('may carry extensions', () => {
    const note = signNote(`${name}\n5\n${root.toString('base64')}\nextension\n`, signer)
    expect(openCheckpoint(note, verifier).size).toBe(5)
  })

  it.each([
    ['another origin', `other\n5\n${root.toString('base64')}\n`],
    ['no size', `${name}\n\n${root.toString('base64')}\n`],
    ['a negative size', `${name}\n-5\n${root.toString('base64')}\n`],
    ['a size with a zero before it', `${name}\n05\n${root.toString('base64')}\n`],
    ['a size beyond 2^53', `${name}\n9999999999999999\n${root.toString('base64')}\n`],
    ['a short root', `${name}\n5\n${root.subarray(1).toString('base64')}\n`],
    ['a root that is not base64', `${name}\n5\n${root.toString('hex')}\n`],
    ['nothing else', `${name}\n`],
  ])('is refused with %s', (_, text) => {
    expect(() => openCheckpoint(signNote(text, signer), verifier)).toThrow(failed)
  })
})
