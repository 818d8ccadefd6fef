import { mkdir, readdir } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { stringify } from 'yaml'
import { z } from 'zod'
import { TapestryError } from '../core/error.ts'
import { ensureRecordId, type RecordId } from '../core/ids.ts'
import { signatureSchema } from '../model/parsing.ts'
import { type DatasetTerms, termsSchema } from '../policy/dataset-record.ts'
import { licenceTerms } from '../policy/licence.ts'
import type { NodeDirectory } from './node-directory.ts'
import { readIfThere, readRecord, writePrivate, writeRecord } from './private-file.ts'
import { parseYaml } from './yaml-file.ts'

/** A document that this node signed, and whether its coordinator has it. */
export type SignedText = {
  readonly text: string
  readonly signature: { readonly keyId: string; readonly value: string }
  readonly told: boolean
}

/** What a node keeps about one dataset. */
export type Dataset = {
  readonly terms: DatasetTerms
  /** The file that a person reads and edits. */
  readonly path: string
  readonly record: SignedText | undefined
  readonly withdrawal: SignedText | undefined
}

const HEAD = `# What this node declares about a dataset. Signed and sent to the coordinator when the node runs;
# the text itself never leaves. Edit it here; docs/RECORDS.md says what each line means.
`

export const sentSchema: z.ZodType<SignedText> = z.strictObject({
  text: z.string(),
  signature: signatureSchema,
  told: z.boolean(),
})

/** In a file a record that does not say it is public is not. */
const fileSchema = z.preprocess(
  (value) => (typeof value === 'object' && value !== null ? { public: false, ...value } : value),
  termsSchema,
)

const place = ({ datasetsPath }: NodeDirectory, id: RecordId, suffix: string) => join(datasetsPath, `${id}${suffix}`)

/** Reads a record that a person wrote. @throws TapestryError DATA_INVALID; for a licence that is not known, too. */
export function parseTerms(text: string, path: string): DatasetTerms {
  const terms = parseYaml(text, fileSchema, path)
  const licence = licenceTerms(terms.licence, terms.licenceClasses)
  if (!licence.ok) throw new TapestryError('DATA_INVALID', `${path}: licence: ${licence.rejection.detail}`)
  return terms
}

/** The record as a person reads it. */
export function termsText(terms: DatasetTerms): string {
  return stringify(terms, { lineWidth: 100 })
}

/** Writes a new record. @throws TapestryError ALREADY_EXISTS for an id that the node has used before. */
export async function writeTerms(directory: NodeDirectory, terms: DatasetTerms): Promise<string> {
  await mkdir(directory.datasetsPath, { recursive: true, mode: 0o700 })
  const path = place(directory, terms.id, '.yaml')
  if ((await readIfThere(path)) !== undefined) {
    throw new TapestryError('ALREADY_EXISTS', `this node has a dataset "${terms.id}"`, { hint: `edit ${path}` })
  }
  await writePrivate(path, `${HEAD}${termsText(terms)}`)
  return path
}

/** A dataset. @throws TapestryError NOT_FOUND; DATA_INVALID when its file cannot be read. */
export async function readDataset(directory: NodeDirectory, id: RecordId): Promise<Dataset> {
  const path = place(directory, id, '.yaml')
  const bytes = await readIfThere(path)
  if (bytes === undefined) throw new TapestryError('NOT_FOUND', `this node has no dataset "${id}"`)
  const terms = parseTerms(bytes.toString('utf8'), path)
  if (terms.id !== id) throw new TapestryError('DATA_INVALID', `${path}: id: must be "${id}", as the file is named`)
  const record = await readRecord(place(directory, id, '.signed.json'), sentSchema)
  const withdrawal = await readRecord(place(directory, id, '.withdrawn.json'), sentSchema)
  return { terms, path, record, withdrawal }
}

/** Every dataset of the node, in order of id. @throws as {@link readDataset} */
export async function readDatasets(directory: NodeDirectory): Promise<Dataset[]> {
  const names = await readdir(directory.datasetsPath).catch(() => [])
  const ids = names.filter((name) => name.endsWith('.yaml') && !name.startsWith('.')).sort()
  return Promise.all(ids.map((name) => readDataset(directory, ensureRecordId(basename(name, '.yaml')))))
}

export const writeSigned = (directory: NodeDirectory, id: RecordId, signed: SignedText) =>
  writeRecord(place(directory, id, '.signed.json'), signed)

/** A file of its own, so that a node at work that notes something else cannot undo it. */
export const writeWithdrawal = (directory: NodeDirectory, id: RecordId, signed: SignedText) =>
  writeRecord(place(directory, id, '.withdrawn.json'), signed)
