import type { Dirent, Stats } from 'node:fs'
import { readdir, readFile, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { TapestryError } from '../core/error.ts'
import { ensureLanguageTag, type LanguageTag } from '../core/language-tag.ts'
import { compareText } from '../core/order.ts'
import { Guard } from './exclusions.ts'

/** Text of one language and community: a UTF-8 .txt file, or a directory of them. */
export type DataSource = {
  readonly path: string
  readonly language: LanguageTag
  /** Community that the text belongs to; empty when none is declared. */
  readonly community: string
  /** Dataset record that declares the text; tokens are accounted to it. */
  readonly record?: string | undefined
}

/**
 * Most bytes of text that one task reads. Documents are held in memory, at about three times their
 * size; a node with more text trains on a different part of it in each round.
 */
export const MAX_DATASET_BYTES = 128 * 1024 * 1024

const EXTENSION = '.txt'

export function dataInvalid(path: string, problem: string, options: { cause?: unknown; hint?: string } = {}) {
  return new TapestryError('DATA_INVALID', `${path}: ${problem}`, options)
}

/**
 * The sources of a folder: `<BCP-47>.txt` files and `<BCP-47>` directories of .txt files, in order of
 * name. Hidden entries and files of other kinds are left alone.
 * @throws TapestryError DATA_INVALID when the folder is missing or holds no text, or when a name is not a language tag.
 */
export async function discoverSources(directory: string, community = ''): Promise<DataSource[]> {
  const entries = await listDirectory(directory)
  const candidates = entries.filter((entry) => entry.isDirectory() || entry.name.endsWith(EXTENSION))
  if (candidates.length === 0) {
    throw dataInvalid(directory, 'no text found', { hint: 'Put UTF-8 text there as <language>.txt, such as sw.txt.' })
  }
  return candidates.map(({ name }) => {
    const path = join(directory, name)
    return { path, language: languageOf(path), community }
  })
}

function languageOf(path: string): LanguageTag {
  const name = basename(path, EXTENSION)
  try {
    return ensureLanguageTag(name)
  } catch (cause) {
    const hint = 'Name it after its language as a BCP-47 tag, such as sw.txt or pt-BR.txt, or move it away.'
    throw dataInvalid(path, `"${name.slice(0, 40)}" is not a language tag`, { cause, hint })
  }
}

/**
 * The files of a source, in order of name.
 * @throws TapestryError DATA_INVALID when there are none, or when one is not a regular file.
 */
export async function filesOf({ path }: DataSource): Promise<string[]> {
  const status = await statusOf(path)
  if (status.isFile()) return [path]
  if (!status.isDirectory()) throw dataInvalid(path, 'neither a file nor a directory')
  const names = (await listDirectory(path)).map((entry) => entry.name).filter((name) => name.endsWith(EXTENSION))
  if (names.length === 0) throw dataInvalid(path, `no ${EXTENSION} files found`)
  return names.map((name) => join(path, name))
}

/** What remains of {@link MAX_DATASET_BYTES} while the sources of a task are read. */
export type Allowance = { bytes: number }

/**
 * The text of every file of a source that may be opened.
 * @throws TapestryError DATA_INVALID naming the file that is missing, not UTF-8, or beyond the allowance.
 */
export async function readTexts(
  source: DataSource,
  allowance: Allowance,
  guard: Guard = new Guard(),
): Promise<{ readonly path: string; readonly text: string }[]> {
  const texts: { path: string; text: string }[] = []
  for (const path of await filesOf(source)) {
    if (await guard.admitsFile(path)) texts.push({ path, text: await readText(path, allowance) })
  }
  return texts
}

async function readText(path: string, allowance: Allowance): Promise<string> {
  const status = await statusOf(path)
  if (!status.isFile()) throw dataInvalid(path, 'not a regular file')
  allowance.bytes -= status.size
  if (allowance.bytes < 0) {
    throw dataInvalid(path, `more than ${MAX_DATASET_BYTES} bytes of text in all`, { hint: 'Give the node less text.' })
  }
  const bytes = await readFile(path).catch((cause: unknown) => {
    throw dataInvalid(path, 'cannot be read', { cause })
  })
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (cause) {
    throw dataInvalid(path, 'not UTF-8', { cause, hint: 'Convert it to UTF-8.' })
  }
}

async function statusOf(path: string): Promise<Stats> {
  return stat(path).catch((cause: unknown) => {
    throw dataInvalid(path, 'cannot be opened', { cause })
  })
}

async function listDirectory(path: string): Promise<Dirent[]> {
  const entries = await readdir(path, { withFileTypes: true }).catch((cause: unknown) => {
    throw dataInvalid(path, 'cannot be opened', { cause })
  })
  return entries.filter(({ name }) => !name.startsWith('.')).sort((a, b) => compareText(a.name, b.name))
}
