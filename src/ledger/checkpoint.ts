import { TapestryError } from '../core/error.ts'
import { HASH_BYTES } from './merkle.ts'
import { type NoteSigner, type NoteVerifier, openNote, signNote } from './note.ts'
import type { TreeHead } from './proof.ts'

/** A tree head as a signed note (C2SP tlog-checkpoint). The origin is the signer's name. */
export function signCheckpoint({ size, root }: TreeHead, signer: NoteSigner): string {
  return signNote(`${signer.name}\n${size}\n${Buffer.from(root).toString('base64')}\n`, signer)
}

/**
 * The tree head that a checkpoint commits to.
 * @throws TapestryError VERIFICATION_FAILED when the signature, the origin or the form is wrong.
 */
export function openCheckpoint(note: string, verifier: NoteVerifier): TreeHead {
  // Lines after the third are extensions: signed, and passed over by those who do not know them.
  const [origin, size = '', root = ''] = openNote(note, verifier).split('\n')
  if (origin !== verifier.name) throw failed('is of another log')
  if (!/^(0|[1-9]\d{0,15})$/.test(size) || !Number.isSafeInteger(Number(size))) throw failed('has no size')
  const hash = Buffer.from(root, 'base64')
  if (hash.length !== HASH_BYTES || hash.toString('base64') !== root) throw failed('has no root hash')
  return { size: Number(size), root: hash }
}

const failed = (problem: string) => new TapestryError('VERIFICATION_FAILED', `the checkpoint ${problem}`)
