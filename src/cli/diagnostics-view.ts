import type { ContributionDiagnostics, Diagnostics } from '../gen/proto/tapestry/v1/round_pb.ts'
import { type Column, printable, table } from './terminal.ts'

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
  const titles = ['NORM', 'COSINE TO MERGE', 'RETAINED', 'NORM Z', 'AGREEMENT', 'AGREEMENT Z']
  return table(
    [{ title: 'NODE' }, ...titles.map(right), { title: 'OUTLIER' }],
    contributions.map((one) => [
      nameOf(one, names),
      one.norm.toPrecision(4),
      one.cosine.toFixed(3),
      one.retained.toFixed(3),
      one.normScore.toFixed(1),
      one.agreement?.toFixed(3) ?? '-',
      one.agreement === undefined ? '-' : one.agreementScore.toFixed(1),
      one.outlier ? 'yes' : '',
    ]),
  )
}

/** What a contribution is called. */
export function nameOf({ node }: ContributionDiagnostics, names: Names): string {
  return printable(names.get(node) || node)
}

/** The cosine of each contribution with each, row by row; undefined when they were not compared. */
export function matrixOf({ contributions, cosines }: Diagnostics): number[][] | undefined {
  const size = contributions.length
  if (cosines.length === 0 || cosines.length !== size * size) return undefined
  return contributions.map((_, i) => cosines.slice(i * size, (i + 1) * size))
}
