import { mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { digestOf, hexOf } from '../core/digest.ts'
import type { DOMAINS, Signature } from '../core/signature.ts'
import { signatureSchema } from '../model/parsing.ts'
import { fileError } from '../model/whole-file.ts'
import type { NodeDirectory } from './node-directory.ts'
import { readRecord, writeRecord } from './private-file.ts'

/** What a node signs and its federation's log then names by digest, each kind in a domain of its own. */
export const SAID_KINDS = ['genesis', 'contribution', 'record', 'withdrawal', 'keys', 'departure'] as const
export type SaidKind = (typeof SAID_KINDS)[number] & keyof typeof DOMAINS

/** A document as it was signed. Only changes of keys have more than one signature. */
export type Said = { readonly kind: SaidKind; readonly text: string; readonly signatures: readonly Signature[] }

const saidSchema: z.ZodType<Said> = z.strictObject({
  kind: z.enum(SAID_KINDS),
  text: z.string(),
  signatures: z.array(signatureSchema).min(1),
})

const FOLDER = 'documents'

/** Keeps what the coordinator has accepted, for good: the node's own half of its audit trail. @throws TapestryError DISK_FULL */
export async function keepSaid({ root }: NodeDirectory, said: Said): Promise<void> {
  await writeSaid(join(root, 'ledger'), said)
}

/** Writes a document into a folder's `documents`, named by its digest. @throws TapestryError DISK_FULL */
export async function writeSaid(folder: string, said: Said): Promise<void> {
  const path = join(folder, FOLDER)
  try {
    await mkdir(path, { recursive: true, mode: 0o700 })
  } catch (cause) {
    throw fileError(path, cause)
  }
  await writeRecord(join(path, `${hexOf(digestOf(said.text))}.json`), said)
}

/** Every document of a folder. @throws TapestryError DATA_INVALID for a file that is none. */
export async function readSaid(folder: string): Promise<readonly Said[]> {
  const names = await readdir(join(folder, FOLDER)).catch(() => [])
  const files = names.filter((name) => /^[0-9a-f]{64}\.json$/.test(name)).sort()
  const found = await Promise.all(files.map((name) => readRecord(join(folder, FOLDER, name), saidSchema)))
  return found.flatMap((said) => said ?? [])
}
