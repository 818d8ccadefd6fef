import type { ContributionDiagnostics, Diagnostics } from '../gen/proto/tapestry/v1/round_pb.ts'
import { type Column, paint, printable, type Style, type Terminal, table } from './terminal.ts'

/** Names of nodes by id. */
export type Names = ReadonlyMap<string, string>

/** The arithmetic of a merge as JSON; null before it. */
export function diagnosticsJson(diagnostics: Diagnostics | undefined) {
  if (diagnostics === undefined) return null
  const { deltaNorm, elements, comparedElements, contributions } = diagnostics
  return {
    deltaNorm,
    elements: Number(elements),
    comparedElements: Number(comparedElements),
    contributions: contributions.map((one) => ({
      node: one.node,
      norm: one.norm,
      coefficient: one.coefficient ?? null,
      cosine: one.cosine,
      retained: one.retained,
      normScore: one.normScore,
      agreement: one.agreement ?? null,
      agreementScore: one.agreementScore,
      outlier: one.outlier,
    })),
    cosines: matrixOf(diagnostics) ?? null,
  }
}

/** What the merge says about each contribution. */
export function diagnosticsTable({ contributions }: Diagnostics, names: Names): string {
  const right = (title: string): Column => ({ title, align: 'right' })
  const titles = ['NORM', 'FACTOR', 'COSINE TO MERGE', 'RETAINED', 'NORM Z', 'AGREEMENT', 'AGREEMENT Z']
  return table(
    [{ title: 'NODE' }, ...titles.map(right), { title: 'OUTLIER' }],
    contributions.map((one) => [
      nameOf(one, names),
      one.norm.toPrecision(4),
      one.coefficient?.toFixed(4) ?? '-',
      one.cosine.toFixed(3),
      one.retained.toFixed(3),
      one.normScore.toFixed(1),
      one.agreement?.toFixed(3) ?? '-',
      one.agreement === undefined ? '-' : one.agreementScore.toFixed(1),
      one.outlier ? 'yes' : '',
    ]),
  )
}

/** Cosines of 0 and more, in quarters. */
const SHADES = ['  ', '░░', '▒▒', '▓▓', '██']

/** The cosine of each contribution with each as shades, numbered like its rows; undefined when they were not compared. */
export function heatMap(diagnostics: Diagnostics, names: Names, terminal: Terminal): string | undefined {
  const matrix = matrixOf(diagnostics)
  if (matrix === undefined) return undefined
  const { contributions, elements, comparedElements } = diagnostics
  const part = comparedElements < elements ? ` (over ${comparedElements} of ${elements} elements)` : ''
  const head = `cosines between contributions${part}: ${SHADES.map((shade, i) => `${shade.trim() || '.'} ${i / 4}`).join('  ')}  -- below 0`
  const rows = matrix.map((row, i) => {
    const one = contributions[i]
    const label = `${String(i + 1).padStart(3)} ${row.map((cosine) => cell(cosine, terminal)).join('')}`
    return `${label} ${one === undefined ? '' : nameOf(one, names)}`.trimEnd()
  })
  return [head, ...rows].join('\n')
}

function cell(cosine: number, terminal: Terminal): string {
  if (cosine < 0) return paint(terminal, 'red', '--')
  const style: Style = cosine > 0.5 ? 'green' : 'yellow'
  return paint(terminal, style, SHADES[Math.round(Math.min(1, cosine) * 4)] ?? '')
}

function nameOf({ node }: ContributionDiagnostics, names: Names): string {
  return printable(names.get(node) || node)
}

function matrixOf({ contributions, cosines }: Diagnostics): number[][] | undefined {
  const size = contributions.length
  if (cosines.length === 0 || cosines.length !== size * size) return undefined
  return contributions.map((_, i) => cosines.slice(i * size, (i + 1) * size))
}
