import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ensureLanguageTag } from '../../src/core/language-tag.ts'
import type { DataSource } from '../../src/engine/sources.ts'
import { termsText } from '../../src/participant/dataset-file.ts'
import { RECORD_FILE } from '../../src/participant/datasets.ts'
import { randomFrom } from '../../src/plan/random.ts'
import { datasetTerms } from '../dataset-records.ts'

/** Words to make lines of, by language tag: a byte-level model learns their letters within a few steps. */
const WORDS: Readonly<Record<string, readonly string[]>> = {
  sw: ['watu', 'wote', 'wamezaliwa', 'huru', 'hadhi', 'na', 'haki', 'zao', 'ni', 'sawa'],
  fr: ['tous', 'les', 'êtres', 'humains', 'naissent', 'libres', 'et', 'égaux', 'en', 'dignité'],
  vi: ['mọi', 'người', 'sinh', 'ra', 'được', 'tự', 'do', 'và', 'bình', 'đẳng'],
  en: ['all', 'human', 'beings', 'are', 'born', 'free', 'and', 'equal', 'in', 'dignity'],
}

const LINES = 40
const WORDS_PER_LINE = 8

/** The languages that have words here. */
export const TEXT_LANGUAGES = Object.keys(WORDS)

/** The same text for the same name and language, always; other names have other lines. */
export function textOf(name: string, language: string): string {
  const words = WORDS[language]
  if (words === undefined) throw new Error(`there are no words in ${language}`)
  const random = randomFrom(`text ${name} ${language}`)
  const line = () => Array.from({ length: WORDS_PER_LINE }, () => words[random.below(words.length)]).join(' ')
  return `${Array.from({ length: LINES }, line).join('\n')}\n`
}

/** Writes a folder of `<language>.txt` with the record that declares it, and says what is in it. */
export async function writeTexts(
  directory: string,
  name: string,
  languages: readonly string[],
  community = '',
): Promise<DataSource[]> {
  await mkdir(directory, { recursive: true })
  const terms = datasetTerms({ languages: languages.map(ensureLanguageTag) })
  await writeFile(join(directory, RECORD_FILE), termsText(terms))
  return Promise.all(
    languages.map(async (language) => {
      const path = join(directory, `${language}.txt`)
      await writeFile(path, textOf(name, language))
      return { path, language: ensureLanguageTag(language), community }
    }),
  )
}
