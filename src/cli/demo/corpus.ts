import { mkdir, open, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { TapestryError } from '../../core/error.ts'
import type { LanguageTag } from '../../core/language-tag.ts'
import { termsText } from '../../participant/dataset-file.ts'
import { RECORD_FILE } from '../../participant/datasets.ts'
import { demoTerms, type TextSource } from './demo-record.ts'

/** Text in one language, read once. */
export type Corpus = { readonly language: LanguageTag; readonly lines: Iterable<string> | AsyncIterable<string> }

/** One node's share: a folder of <BCP-47>.txt. */
export type NodeText = { readonly node: string; readonly directory: string; readonly languages: readonly LanguageTag[] }

/**
 * Which node holds which languages. With more languages than nodes each node holds several; with
 * fewer, several nodes share one. Both by turns, so that no node has more than one more than another.
 */
export function shareOut(languages: readonly LanguageTag[], nodes: readonly string[]): Map<string, LanguageTag[]> {
  const shares = new Map<string, LanguageTag[]>(nodes.map((node) => [node, []]))
  for (let turn = 0; turn < Math.max(languages.length, nodes.length); turn++) {
    const node = nodes[turn % nodes.length]
    const language = languages[turn % languages.length]
    if (node !== undefined && language !== undefined) shares.get(node)?.push(language)
  }
  return shares
}

/**
 * Writes every node's text, and beside it the record that declares it. Lines of a language that several nodes hold go to them by turns, so
 * that each has text of its own and the same corpus is always divided in the same way.
 * @throws TapestryError DATA_INVALID when there are too few lines for everybody to train and to hold some out.
 */
export async function writeTexts(
  corpora: readonly Corpus[],
  nodes: readonly string[],
  root: string,
  source: TextSource,
): Promise<NodeText[]> {
  const languages = corpora.map((corpus) => corpus.language)
  const shares = shareOut(languages, nodes)
  const texts = nodes.map((node) => ({ node, directory: join(root, node), languages: shares.get(node) ?? [] }))
  for (const text of texts) {
    await mkdir(text.directory, { recursive: true })
    const terms = demoTerms(text.node, text.languages, source)
    if (text.languages.length > 0) await writeFile(join(text.directory, RECORD_FILE), termsText(terms))
  }
  for (const corpus of corpora) {
    const holders = texts.filter((text) => text.languages.includes(corpus.language))
    await writeShares(
      corpus,
      holders.map((holder) => join(holder.directory, `${corpus.language}.txt`)),
    )
  }
  return texts
}

/** One line to train on and one to hold out. */
const LEAST_LINES = 2
/** Written in pieces of this many characters: a write for each line would take minutes for a large corpus. */
const WRITE_CHARACTERS = 2 ** 16

async function writeShares(corpus: Corpus, paths: readonly string[]): Promise<void> {
  const files = await Promise.all(paths.map((path) => open(path, 'wx')))
  try {
    const pending = files.map(() => '')
    let count = 0
    for await (const line of corpus.lines) {
      const turn = count++ % files.length
      pending[turn] += `${line}\n`
      if ((pending[turn] ?? '').length < WRITE_CHARACTERS) continue
      await files[turn]?.write(pending[turn] ?? '')
      pending[turn] = ''
    }
    for (const [turn, file] of files.entries()) await file.write(pending[turn] ?? '')
    if (count < LEAST_LINES * files.length) throw tooShort(corpus.language, count, files.length)
  } finally {
    await Promise.all(files.map((file) => file.close()))
  }
}

function tooShort(language: LanguageTag, lines: number, holders: number): TapestryError {
  return new TapestryError('DATA_INVALID', `${language} has ${lines} lines of text for ${holders} nodes`, {
    hint: 'give more text or fewer --nodes',
  })
}
