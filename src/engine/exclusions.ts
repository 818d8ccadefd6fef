import { realpath } from 'node:fs/promises'
import { dirname } from 'node:path'

/** What a node keeps from every training and measuring, whoever asks. */
export type Exclusions = {
  /** Folders and glob patterns (`*`, `**`, `?`); one without a leading slash matches at any depth. */
  readonly paths: readonly string[]
  /** A line that holds one of these is left out whole, whatever its case or width. */
  readonly terms: readonly string[]
}

/** Applies exclusions while text is read, and counts what was left out. */
export class Guard {
  readonly excluded = { files: 0, documents: 0 }
  readonly #paths: readonly RegExp[]
  readonly #terms: readonly string[]

  constructor({ paths, terms }: Exclusions = { paths: [], terms: [] }) {
    this.#paths = paths.map(patternOf)
    this.#terms = terms.map(folded)
  }

  /** Whether a file may be opened. A link is judged by its own name and by what it leads to. */
  async admitsFile(path: string): Promise<boolean> {
    if (this.#paths.length === 0) return true
    const target = await realpath(path).catch(() => path)
    const excluded = [...ancestry(path), ...ancestry(target)].some((one) =>
      this.#paths.some((shape) => shape.test(one)),
    )
    if (excluded) this.excluded.files++
    return !excluded
  }

  /** Whether a line may be read on. */
  admitsLine(line: string): boolean {
    if (this.#terms.length === 0) return true
    const text = folded(line)
    const excluded = this.#terms.some((term) => text.includes(term))
    if (excluded) this.excluded.documents++
    return !excluded
  }
}

/** One form for text that differs only in case, width or composition (NFKC and default case folding by lower case). */
function folded(text: string): string {
  return text.normalize('NFKC').toLowerCase().normalize('NFKC')
}

/** A path and every folder above it: a pattern that names a folder covers all that is in it. */
function ancestry(path: string): string[] {
  const parent = dirname(path)
  return parent === path ? [path] : [path, ...ancestry(parent)]
}

function patternOf(glob: string): RegExp {
  const trimmed = glob.replace(/\/+$/, '')
  const source = trimmed.replace(/\*\*\/|\*\*|\*|\?|[\\^$.|+()[\]{}]/g, (part) => {
    if (part === '**/') return '(?:.*/)?'
    if (part === '**') return '.*'
    if (part === '*') return '[^/]*'
    return part === '?' ? '[^/]' : `\\${part}`
  })
  return new RegExp(`${trimmed.startsWith('/') ? '^' : '(?:^|/)'}${source}$`, 'u')
}
