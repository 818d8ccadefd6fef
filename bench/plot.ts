/** One group of bars: a label, and a value a series; undefined leaves a gap. */
export type BarGroup = { readonly label: string; readonly values: readonly (number | undefined)[] }

export type BarPlot = {
  readonly title: string
  /** What the numbers are. */
  readonly unit: string
  readonly series: readonly string[]
  readonly groups: readonly BarGroup[]
  /** A horizontal line with a name, for example a physical limit. */
  readonly line?: { readonly label: string; readonly value: number }
}

const WIDTH = 760
const HEIGHT = 340
const LEFT = 64
const RIGHT = 16
const TOP = 64
const BOTTOM = 56
const TICKS = 5
/** Told apart by people who see colours differently (Okabe and Ito 2008), on light and on dark paper. */
const COLOURS = ['#0072b2', '#e69f00', '#009e73', '#cc79a7']
const TEXT = '#57606a'

/** Draws a plot as SVG 1.1, without scripts or fonts of its own; the same figures give the same bytes. */
export function barPlot(plot: BarPlot): string {
  const values = plot.groups.flatMap((group) => group.values.map((value) => value ?? 0))
  const top = roundUp(Math.max(...values, plot.line?.value ?? 0, Number.MIN_VALUE))
  const y = (value: number) => HEIGHT - BOTTOM - (value / top) * (HEIGHT - TOP - BOTTOM)
  const parts = [
    text(LEFT, 24, plot.title, 'font-size="15" font-weight="600"'),
    ...axis(top, y, plot.unit),
    ...plot.groups.flatMap((group, i) => bars(group, i, plot.groups.length, y)),
    ...legend(plot.series),
    ...(plot.line === undefined ? [] : limit(plot.line, y)),
  ]
  const box = `viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}"`
  const style = `font-family="system-ui, sans-serif" font-size="12" fill="${TEXT}"`
  const name = `role="img" aria-label="${escaped(plot.title)}"`
  return `<svg xmlns="http://www.w3.org/2000/svg" ${box} ${style} ${name}>\n${parts.join('\n')}\n</svg>\n`
}

/** The next number that divides well into the ticks. */
function roundUp(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value))
  return power * ([1, 1.5, 2, 2.5, 4, 5, 7.5, 10].find((step) => step * power >= value * (1 - 1e-9)) ?? 10)
}

function axis(top: number, y: (value: number) => number, unit: string): string[] {
  const lines = Array.from({ length: TICKS + 1 }, (_, i) => {
    const value = (top * i) / TICKS
    const at = fixed(y(value))
    const stroke = `stroke="${TEXT}" stroke-opacity="${i === 0 ? 0.8 : 0.2}"`
    return [
      `<line x1="${LEFT}" y1="${at}" x2="${WIDTH - RIGHT}" y2="${at}" ${stroke}/>`,
      text(LEFT - 8, y(value) + 4, shortNumber(value), 'text-anchor="end"'),
    ].join('')
  })
  return [...lines, text(LEFT - 8, TOP - 12, unit, 'text-anchor="end"')]
}

function bars({ label, values }: BarGroup, index: number, groups: number, y: (value: number) => number): string[] {
  const slot = (WIDTH - LEFT - RIGHT) / groups
  const width = Math.min(48, (slot * 0.8) / values.length)
  const middle = LEFT + slot * (index + 0.5)
  const drawn = values.map((value, i) => {
    if (value === undefined) return ''
    const x = middle + (i - values.length / 2) * width
    const height = HEIGHT - BOTTOM - y(value)
    const shape = `x="${fixed(x + 1)}" y="${fixed(y(value))}" width="${fixed(width - 2)}" height="${fixed(height)}"`
    const size = `text-anchor="middle" font-size="${width < 26 ? 9 : 11}"`
    return `<rect ${shape} fill="${colour(i)}"/>${text(x + width / 2, y(value) - 4, shortNumber(value), size)}`
  })
  const lines = label
    .split('\n')
    .map((part, i) => text(middle, HEIGHT - BOTTOM + 18 + 15 * i, part, 'text-anchor="middle"'))
  return [...drawn, ...lines].filter((part) => part !== '')
}

function legend(series: readonly string[]): string[] {
  let x = LEFT
  return series.map((name, i) => {
    const at = x
    x += 28 + name.length * 7
    return `<rect x="${at}" y="34" width="12" height="12" fill="${colour(i)}"/>${text(at + 17, 44, name)}`
  })
}

function limit({ label, value }: { label: string; value: number }, y: (value: number) => number): string[] {
  const at = fixed(y(value))
  return [
    `<line x1="${LEFT}" y1="${at}" x2="${WIDTH - RIGHT}" y2="${at}" stroke="#d55e00" stroke-dasharray="6 4"/>`,
    text(WIDTH - RIGHT, y(value) - 5, label, 'text-anchor="end" fill="#d55e00"'),
  ]
}

function colour(index: number): string {
  return COLOURS[index % COLOURS.length] ?? TEXT
}

function text(x: number, y: number, content: string, attributes = ''): string {
  return `<text x="${fixed(x)}" y="${fixed(y)}"${attributes && ` ${attributes}`}>${escaped(content)}</text>`
}

/** Three figures are all that a bar can say. */
export function shortNumber(value: number): string {
  if (value === 0) return '0'
  if (Math.abs(value) >= 100) return value.toFixed(0)
  return String(Number(value.toPrecision(3)))
}

function fixed(value: number): string {
  return String(Math.round(value * 10) / 10)
}

function escaped(content: string): string {
  return content.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;')
}
