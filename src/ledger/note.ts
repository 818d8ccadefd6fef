import { createHash, createPublicKey, type KeyObject, sign, verify } from 'node:crypto'
import { TapestryError } from '../core/error.ts'

/** Who signs notes: a name without spaces or plus signs, and an Ed25519 key. */
export type NoteSigner = { readonly name: string; readonly key: KeyObject }
/** Whose notes are believed. `key`: public. */
export type NoteVerifier = { readonly name: string; readonly key: KeyObject }

/** C2SP signed-note: the type of an Ed25519 key, which its hash covers. */
const ED25519 = Buffer.of(1)
/** A checkpoint with a few dozen witnesses; a longer note is not looked at. */
const MAX_NOTE_BYTES = 16 * 1024
const MARK = '\u2014 '

/**
 * A note as C2SP signed-note writes it: the text, an empty line, one line for the signature.
 * @param text ends with a line feed and holds no other control character.
 */
export function signNote(text: string, { name, key }: NoteSigner): string {
  requireText(text)
  const signature = sign(null, Buffer.from(text, 'utf8'), key)
  const value = Buffer.concat([keyHash({ name, key: createPublicKey(key) }), signature])
  return `${text}\n${MARK}${name} ${value.toString('base64')}\n`
}

/**
 * The text of a note, proved to be signed by `verifier`. Signatures of others, such as witnesses, are passed over.
 * @throws TapestryError VERIFICATION_FAILED when it is no note, or not signed by this key.
 */
export function openNote(note: string, verifier: NoteVerifier): string {
  const end = note.lastIndexOf('\n\n')
  if (Buffer.byteLength(note) > MAX_NOTE_BYTES || end < 0) throw failed('is not a signed note')
  const text = note.slice(0, end + 1)
  requireText(text)
  const lines = note.slice(end + 2).split('\n')
  if (lines.pop() !== '' || lines.length === 0) throw failed('does not end with its signatures')
  const own = lines.map(parseSignature).filter((signature) => isBy(signature, verifier))
  const message = Buffer.from(text, 'utf8')
  if (own.length > 0 && own.every(({ value }) => verifies(message, verifier, value))) return text
  throw failed(own.length === 0 ? `is not signed by ${verifier.name}` : `carries a bad signature of ${verifier.name}`)
}

/** The key as C2SP tools take it: `<name>+<hash>+<base64 of type and key>`. */
export function verifierText(verifier: NoteVerifier): string {
  const key = Buffer.concat([ED25519, rawKey(verifier.key)]).toString('base64')
  return `${verifier.name}+${keyHash(verifier).toString('hex')}+${key}`
}

type NoteSignature = { readonly name: string; readonly hash: Buffer; readonly value: Buffer }

const SIGNATURE = /^\u2014 ([^\s+]+) ([A-Za-z0-9+/]+={0,2})$/u

function parseSignature(line: string): NoteSignature {
  const [, name, base64 = ''] = SIGNATURE.exec(line) ?? []
  const bytes = Buffer.from(base64, 'base64')
  if (name === undefined || bytes.length < 5 || bytes.toString('base64') !== base64) {
    throw failed('carries a line that is no signature')
  }
  return { name, hash: bytes.subarray(0, 4), value: bytes.subarray(4) }
}

function isBy({ name, hash }: NoteSignature, verifier: NoteVerifier): boolean {
  return name === verifier.name && hash.equals(keyHash(verifier))
}

function verifies(message: Buffer, { key }: NoteVerifier, signature: Buffer): boolean {
  try {
    return verify(null, message, key, signature)
  } catch {
    return false
  }
}

/** SHA-256(name || 0x0A || 0x01 || key), its first four bytes: tells keys of one name apart. */
function keyHash({ name, key }: NoteVerifier): Buffer {
  return createHash('sha256').update(`${name}\n`).update(ED25519).update(rawKey(key)).digest().subarray(0, 4)
}

/** The 32 bytes of an Ed25519 public key. */
function rawKey(key: KeyObject): Buffer {
  return Buffer.from(key.export({ format: 'jwk' }).x ?? '', 'base64url')
}

function requireText(text: string): void {
  if (/^[^\p{Cc}\p{Surrogate}]/u.test(text) && text.endsWith('\n') && !/[^\P{Cc}\n]/u.test(text)) return
  throw failed('holds control characters, or no text')
}

const failed = (problem: string) => new TapestryError('VERIFICATION_FAILED', `the note ${problem}`)
