import { join, resolve } from 'node:path'
import { TapestryError } from '../core/error.ts'
import type { DataSource } from '../engine/sources.ts'
import type { DatasetTerms } from '../policy/dataset-record.ts'
import { parseTerms, writeTerms } from './dataset-file.ts'
import type { NodeDirectory } from './node-directory.ts'
import { readIfThere } from './private-file.ts'

/** A record that lies beside the text it declares. */
export const RECORD_FILE = 'tapestry.yaml'

/** The record in a folder of text; undefined when there is none. @throws TapestryError DATA_INVALID */
export async function readTermsBeside(folder: string): Promise<DatasetTerms | undefined> {
  const path = join(folder, RECORD_FILE)
  const bytes = await readIfThere(path)
  return bytes === undefined ? undefined : parseTerms(bytes.toString('utf8'), path)
}

/**
 * Declares sources: those that the node has, and new ones.
 * @returns the file that holds the record
 * @throws TapestryError ALREADY_EXISTS for a used id; INVALID_ARGUMENT when there is nothing to declare, or text in a
 *   language that the record does not name, or text that another record declares
 */
export async function addDataset(
  directory: NodeDirectory,
  terms: DatasetTerms,
  declared: readonly DataSource[],
): Promise<string> {
  ensureDeclares(terms, declared)
  const record = await directory.read()
  const paths = declared.map(({ path }) => resolve(path))
  const taken = record.sources.find((one) => one.record !== undefined && paths.includes(one.path))
  if (taken !== undefined) throw invalid(`${taken.path} is declared by the record "${taken.record}"`)
  const others = record.sources.filter(({ path }) => !paths.includes(path))
  const own = declared.map((source) => ({ ...source, path: resolve(source.path), record: terms.id }))
  // First the record: text is not named after one that was never written.
  const path = await writeTerms(directory, terms)
  await directory.write({ ...record, sources: [...others, ...own] })
  return path
}

/** @throws TapestryError INVALID_ARGUMENT unless there is text, and all of it in languages that the record names */
export function ensureDeclares({ languages }: DatasetTerms, declared: readonly DataSource[]): void {
  if (declared.length === 0) throw invalid('there is no text that this record could declare')
  const known = languages.map((language) => language.toLowerCase())
  const stray = declared.find(({ language }) => !known.includes(language.toLowerCase()))
  if (stray !== undefined) throw invalid(`the record names no text in ${stray.language}, which ${stray.path} is in`)
}

function invalid(detail: string): TapestryError {
  return new TapestryError('INVALID_ARGUMENT', detail)
}
