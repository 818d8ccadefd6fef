import type { Diagnostics } from '../gen/proto/tapestry/v1/round_pb.ts'
import { matrixOf, type Names, nameOf } from './diagnostics-view.ts'
import { heat, type Terminal } from './terminal.ts'

/** Columns of a cell with its number, and of one without. */
const WIDE_CELL = 8
const NARROW_CELL = 2
const NUMBER_COLUMNS = 4

/** Cosines of 0 and more, in quarters; the cells of a terminal without colour. */
const SHADES = [' ', '░', '▒', '▓', '█']
const OPPOSED = '-'

/**
 * The cosine of each contribution with each as a map of numbered rows and columns; undefined when they were not
 * compared. In colour from blue (opposed) over white (nothing in common) to red (the same direction); without colour
 * in shades. Each cell has its number where the terminal is wide enough.
 */
export function heatMap(diagnostics: Diagnostics, names: Names, terminal: Terminal): string | undefined {
  const matrix = matrixOf(diagnostics)
  if (matrix === undefined) return undefined
  const { contributions } = diagnostics
  const label = (i: number) => String(i + 1).padStart(NUMBER_COLUMNS)
  const wide = NUMBER_COLUMNS + 1 + matrix.length * WIDE_CELL <= terminal.columns
  const rows = matrix.map((row, i) => {
    const one = contributions[i]
    const cells = row.map((cosine) => (wide ? wideCell(cosine, terminal) : narrowCell(cosine, terminal)))
    return `${label(i)} ${cells.join('')}  ${one === undefined ? '' : nameOf(one, names)}`.trimEnd()
  })
  const heads = matrix.map((_, i) =>
    String(i + 1)
      .padStart(WIDE_CELL - 1)
      .padEnd(WIDE_CELL),
  )
  const columns = wide ? [`${' '.repeat(NUMBER_COLUMNS + 1)}${heads.join('')}`.trimEnd()] : []
  return [title(diagnostics, terminal), ...columns, ...rows].join('\n')
}

function title({ elements, comparedElements }: Diagnostics, terminal: Terminal): string {
  const part = comparedElements < elements ? `, over ${comparedElements} of ${elements} elements` : ''
  const scale = [-1, 0, 0.25, 0.5, 0.75, 1].map((cosine) => {
    const sign = cosine < 0 ? 'below 0' : String(cosine)
    return terminal.colour ? heat(terminal, cosine, ` ${sign} `) : `${shade(cosine).trim() || '.'} ${sign}`
  })
  return `cosines between contributions${part}:  ${scale.join(terminal.colour ? '' : '  ')}`
}

function wideCell(cosine: number, terminal: Terminal): string {
  const number = cosine.toFixed(2).padStart(WIDE_CELL - 2)
  return terminal.colour ? heat(terminal, cosine, ` ${number} `) : `${shade(cosine)}${number} `
}

function narrowCell(cosine: number, terminal: Terminal): string {
  return terminal.colour ? heat(terminal, cosine, ' '.repeat(NARROW_CELL)) : shade(cosine).repeat(NARROW_CELL)
}

function shade(cosine: number): string {
  return cosine < 0 ? OPPOSED : (SHADES[Math.round(Math.min(1, cosine) * 4)] ?? '')
}
