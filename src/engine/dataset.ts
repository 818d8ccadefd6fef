import { createHash } from 'node:crypto'
import { TapestryError } from '../core/error.ts'
import type { LanguageTag } from '../core/language-tag.ts'
import { encodeText } from '../model/tokenizer.ts'
import { Guard } from './exclusions.ts'
import { type Allowance, type DataSource, dataInvalid, MAX_DATASET_BYTES, readTexts } from './sources.ts'

/** One line of text, or a piece of a very long one, as UTF-8 bytes without white space around it. */
export type Document = {
  readonly bytes: Uint8Array
  /** From 0 to 1, uniform: SHA-256 of the plan's seed and the bytes. */
  readonly rank: number
  /** Of the source that it was read from. */
  readonly record?: string | undefined
}

/** The text of one language and community. */
export type Corpus = {
  readonly language: LanguageTag
  readonly community: string
  /** In the order of the files, duplicates included. */
  readonly train: readonly Document[]
  /** In order of rank, so that any first part is a fair sample; each document once. */
  readonly heldOut: readonly Document[]
}

export type Split = { readonly seed: number; readonly heldOutFraction: number }

/** A text file without line breaks still becomes many documents, so that it can be split. */
export const MAX_DOCUMENT_BYTES = 8192

/** Bookkeeping costs some 200 bytes per document, so their number is bounded as well as their bytes. */
export const MAX_DOCUMENTS = 2_000_000

/**
 * Reads sources into documents and splits each language and community into text to train on and text
 * to measure on. The side of a document depends on its bytes and the plan's seed alone: duplicates
 * never meet across the split, neither within a node nor between nodes, and every round splits alike.
 * Where chance leaves a side empty, the nearest document is moved to it.
 * @param guard leaves out what the node protects, before anything else sees it
 * @throws TapestryError DATA_INVALID naming the file or language: missing, empty, not UTF-8, too much,
 *   or fewer than two different documents.
 */
export async function loadDataset(
  sources: readonly DataSource[],
  split: Split,
  guard: Guard = new Guard(),
): Promise<Corpus[]> {
  const groups = await readGroups(sources, split.seed, guard)
  const heldOut = new Set<string>()
  for (const { documents } of groups) {
    for (const { key, rank } of documents) if (rank < split.heldOutFraction) heldOut.add(key)
  }
  for (const group of groups) fillBothSides(group, heldOut)
  return groups.map((group) => toCorpus(group, heldOut))
}

type Group = { readonly source: DataSource; readonly documents: (Document & { readonly key: string })[] }

/** Sources of the same language and community are one group; tags differ in case without differing in meaning. */
async function readGroups(sources: readonly DataSource[], seed: number, guard: Guard): Promise<Group[]> {
  if (sources.length === 0) throw new TapestryError('DATA_INVALID', 'no text was given')
  const groups = new Map<string, Group>()
  const allowance: Allowance = { bytes: MAX_DATASET_BYTES }
  let count = 0
  for (const source of sources) {
    const name = `${source.language.toLowerCase()} ${source.community}`
    const group = groups.get(name) ?? { source, documents: [] }
    groups.set(name, group)
    for (const { path, text } of await readTexts(source, allowance, guard)) {
      const before = group.documents.length
      const excludedBefore = guard.excluded.documents
      for (const bytes of documentsOf(text, guard)) {
        if (++count > MAX_DOCUMENTS) throw dataInvalid(path, `more than ${MAX_DOCUMENTS} lines of text in all`)
        group.documents.push({ ...ranked(bytes, seed), record: source.record })
      }
      const empty = group.documents.length === before && guard.excluded.documents === excludedBefore
      if (empty) throw dataInvalid(path, 'no text in it')
    }
  }
  const left = [...groups.values()].filter(({ documents }) => documents.length > 0)
  if (left.length > 0) return left
  throw new TapestryError('DATA_INVALID', 'all of the text is protected: there is nothing to train on')
}

/** The documents of a file, in order. */
export function* documentsOf(text: string, guard: Guard = new Guard()): Generator<Uint8Array> {
  for (const line of text.split(/\r\n|\r|\n/)) {
    const trimmed = line.trim()
    if (trimmed !== '' && guard.admitsLine(trimmed)) yield* pieces(encodeText(trimmed))
  }
}

/** Cuts between characters: a UTF-8 continuation byte (10xxxxxx) never starts a piece. */
function* pieces(bytes: Uint8Array): Generator<Uint8Array> {
  let start = 0
  while (bytes.length - start > MAX_DOCUMENT_BYTES) {
    let end = start + MAX_DOCUMENT_BYTES
    while (((bytes[end] ?? 0) & 0xc0) === 0x80) end--
    yield bytes.subarray(start, end)
    start = end
  }
  yield bytes.subarray(start)
}

function ranked(bytes: Uint8Array, seed: number): Document & { readonly key: string } {
  const hash = createHash('sha256').update(`held-out ${seed} `).update(bytes).digest()
  return { bytes, rank: hash.readUIntBE(0, 6) / 2 ** 48, key: hash.toString('latin1', 0, 16) }
}

/** Where chance left a side empty: holds out the lowest rank, or trains on the highest. */
function fillBothSides({ documents }: Group, heldOut: Set<string>): void {
  const byRank = documents.toSorted((a, b) => a.rank - b.rank)
  const [lowest, highest] = [byRank[0], byRank.at(-1)]
  if (!lowest || !highest || lowest.key === highest.key) return
  if (!documents.some(({ key }) => heldOut.has(key))) heldOut.add(lowest.key)
  if (documents.every(({ key }) => heldOut.has(key))) heldOut.delete(highest.key)
}

function toCorpus({ source, documents }: Group, heldOut: ReadonlySet<string>): Corpus {
  const { language, community } = source
  const unique = new Map(documents.filter(({ key }) => heldOut.has(key)).map((document) => [document.key, document]))
  const train = documents.filter(({ key }) => !heldOut.has(key))
  if (train.length === 0 || unique.size === 0) {
    throw dataInvalid(source.path, `${language} has fewer than two different lines of text`, {
      hint: 'Some text is kept apart to measure the model: give at least two different lines.',
    })
  }
  return { language, community, train, heldOut: [...unique.values()].sort((a, b) => a.rank - b.rank) }
}
