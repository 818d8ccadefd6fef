import { TapestryError } from '../../core/error.ts'
import { ensureLanguageTag, type LanguageTag } from '../../core/language-tag.ts'
import { discoverSources } from '../../engine/sources.ts'
import { type Corpus, type NodeText, writeTexts } from './corpus.ts'
import type { TextSource } from './demo-record.ts'
import { textLines } from './text-lines.ts'
import { declarationLines } from './udhr.ts'

/** Eight families, four scripts or spellings, most of them rarely served by language models. */
export const DEFAULT_LANGUAGES: readonly LanguageTag[] = ['vi', 'sw', 'fr', 'eu', 'zu', 'wo', 'hi', 'quz'].map(
  ensureLanguageTag,
)

/** A small federation still shows that a node may hold two languages. */
const DEFAULT_LANGUAGES_PER_NODE = 2

export type TextChoice = {
  readonly nodes: readonly string[]
  readonly languages?: readonly LanguageTag[] | undefined
  /** Folder of <BCP-47>.txt or <BCP-47>/*.txt. */
  readonly data?: string | undefined
}

/**
 * Gives every node its text: from the folder, or from the Universal Declaration of Human Rights.
 * @throws TapestryError NOT_FOUND for a language there is no text in; DATA_INVALID for text that cannot be used.
 */
export async function prepareText(choice: TextChoice, root: string): Promise<NodeText[]> {
  const corpora = choice.data === undefined ? await declarations(choice) : await folder(choice.data, choice.languages)
  return writeTexts(corpora, choice.nodes, root, sourceOf(choice))
}

/** Whose text a demonstration shows. */
export function sourceOf({ data }: Pick<TextChoice, 'data'>): TextSource {
  return data === undefined ? 'declaration' : 'folder'
}

async function declarations({ languages, nodes }: TextChoice): Promise<Corpus[]> {
  const chosen = languages ?? DEFAULT_LANGUAGES.slice(0, nodes.length * DEFAULT_LANGUAGES_PER_NODE)
  return Promise.all(chosen.map(async (language) => ({ language, lines: await declarationLines(language) })))
}

async function folder(data: string, languages: readonly LanguageTag[] | undefined): Promise<Corpus[]> {
  const sources = await discoverSources(data)
  const byTag = new Map(sources.map(({ language, path }) => [language, path]))
  const missing = languages?.filter((language) => !byTag.has(language)) ?? []
  if (missing.length > 0) throw new TapestryError('NOT_FOUND', `${data} has no text in ${missing.join(', ')}`)
  return (languages ?? [...byTag.keys()]).map((language) => ({ language, lines: textLines(byTag.get(language) ?? '') }))
}
