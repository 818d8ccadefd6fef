import { createReadStream } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { TextDecoder } from 'node:util'
import { TapestryError } from '../../core/error.ts'

/** A line longer than this is a binary file, or a corpus without line breaks that no node could split. */
const MAX_LINE_CHARACTERS = 16 * 2 ** 20

/**
 * Lines of a .txt file, or of every .txt file of a directory in the order of their names; blank ones are left out.
 * @throws TapestryError DATA_INVALID naming the file when it is not UTF-8 or a line is too long.
 */
export async function* textLines(path: string): AsyncGenerator<string> {
  if (!(await stat(path)).isDirectory()) return yield* fileLines(path)
  const names = (await readdir(path)).filter((name) => name.endsWith('.txt')).sort()
  for (const name of names) yield* fileLines(join(path, name))
}

async function* fileLines(path: string): AsyncGenerator<string> {
  const decoder = new TextDecoder('utf-8', { fatal: true })
  let rest = ''
  for await (const chunk of createReadStream(path)) {
    const lines = (rest + decode(decoder, path, chunk)).split(/\r?\n/)
    rest = lines.pop() ?? ''
    if (rest.length > MAX_LINE_CHARACTERS)
      throw new TapestryError('DATA_INVALID', `${path} has a line that is too long`)
    yield* lines.filter(isText)
  }
  const last = rest + decode(decoder, path)
  if (isText(last)) yield last
}

const isText = (line: string) => line.trim() !== ''

function decode(decoder: TextDecoder, path: string, chunk?: Uint8Array): string {
  try {
    return chunk === undefined ? decoder.decode() : decoder.decode(chunk, { stream: true })
  } catch (cause) {
    throw new TapestryError('DATA_INVALID', `${path} is not UTF-8`, { cause })
  }
}
