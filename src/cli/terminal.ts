/** A number of things, such as `1 channel` and `2 channels`. */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`
}

/** How much a stream can show. */
export type Terminal = {
  /** Lines may be redrawn. */
  readonly live: boolean
  readonly colour: boolean
  readonly columns: number
}

type Stream = { readonly isTTY?: boolean | undefined; readonly columns?: number | undefined }

/** NO_COLOR (any value but empty), TERM=dumb and pipes turn colour off; CI logs are not redrawn. */
export function terminalOf(stream: Stream, env: Readonly<Record<string, string | undefined>>): Terminal {
  const tty = stream.isTTY === true && env['TERM'] !== 'dumb'
  return { live: tty && !env['CI'], colour: tty && !env['NO_COLOR'], columns: stream.columns ?? 80 }
}

const CODES = { bold: [1, 22], dim: [2, 22], red: [31, 39], green: [32, 39], yellow: [33, 39], cyan: [36, 39] } as const

export type Style = keyof typeof CODES

/** Wraps text in a style when the terminal shows colour. */
export function paint(terminal: Terminal, style: Style, text: string): string {
  const [on, off] = CODES[style]
  return terminal.colour ? `\u001b[${on}m${text}\u001b[${off}m` : text
}

/** Steps of the 256-colour palette from blue over white to red: the same lightness on both sides. */
const HEAT = [27, 69, 111, 153, 195, 231, 230, 223, 216, 209, 196]

/** Black text on the colour of a value from -1 to 1, when the terminal shows colour. */
export function heat(terminal: Terminal, value: number, text: string): string {
  const step = HEAT[Math.round(((Math.min(1, Math.max(-1, value)) + 1) / 2) * (HEAT.length - 1))]
  return terminal.colour ? `\u001b[30;48;5;${step}m${text}\u001b[39;49m` : text
}

/**
 * Text that came from somebody else, safe to show: a node's name could otherwise carry escape
 * sequences that rewrite the operator's terminal, or turn the reading direction round.
 */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, '\ufffd')
}

const STYLING = new RegExp(`${String.fromCharCode(27)}\\[[\\d;]+m`, 'g')
const WIDE = /[\p{Script=Han}\p{Script=Hangul}\p{Script=Hiragana}\p{Script=Katakana}\p{Emoji_Presentation}]/u
const ZERO = /\p{M}/u

/** Columns that text takes: marks take none, East Asian characters two, styling none. */
export function displayWidth(text: string): number {
  let width = 0
  for (const character of text.replace(STYLING, '')) {
    if (!ZERO.test(character)) width += WIDE.test(character) ? 2 : 1
  }
  return width
}

export type Column = { readonly title: string; readonly align?: 'left' | 'right' }

/** Rows under their titles, columns as wide as their widest cell, two spaces between. */
export function table(columns: readonly Column[], rows: readonly (readonly string[])[]): string {
  const cells = [columns.map((column) => column.title), ...rows]
  const widths = columns.map((_, index) => Math.max(...cells.map((row) => displayWidth(row[index] ?? ''))))
  return cells.map((row) => tableLine(columns, widths, row)).join('\n')
}

function tableLine(columns: readonly Column[], widths: readonly number[], row: readonly string[]): string {
  return columns
    .map((column, index) => {
      const cell = row[index] ?? ''
      const space = ' '.repeat((widths[index] ?? 0) - displayWidth(cell))
      return column.align === 'right' ? space + cell : cell + space
    })
    .join('  ')
    .trimEnd()
}

const EIGHTHS = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉']

/** A bar of `width` columns, filled to `fraction` (0 to 1, clamped) in eighths of a column. */
export function bar(fraction: number, width: number): string {
  const eighths = Math.round(Math.min(1, Math.max(0, fraction || 0)) * width * 8)
  const full = Math.floor(eighths / 8)
  const rest = EIGHTHS[eighths % 8] ?? ''
  return `${'█'.repeat(full)}${rest}${'░'.repeat(width - full - (rest ? 1 : 0))}`
}

const LEVELS = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█']

/** One column per value, between the smallest and the largest of them. */
export function sparkline(values: readonly number[]): string {
  const least = Math.min(...values)
  const span = Math.max(...values) - least
  return values.map((value) => LEVELS[span > 0 ? Math.round(((value - least) / span) * 7) : 0] ?? '').join('')
}

const BYTE_UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']

/** A size for people, in powers of 1024. */
export function formatBytes(bytes: number): string {
  let value = bytes
  let unit = 0
  while (value >= 1024 && unit < BYTE_UNITS.length - 1) {
    value /= 1024
    unit += 1
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${BYTE_UNITS[unit]}`
}

/** The first characters of a digest, enough to tell two apart by eye. */
export function shortDigest(digest: string): string {
  return digest.replace(/^sha256:/, '').slice(0, 12)
}

/** Milliseconds since the epoch as `2026-06-30 14:05:09Z`; `-` for none. */
export function formatTime(ms: number): string {
  return ms > 0 ? `${new Date(ms).toISOString().slice(0, 19).replace('T', ' ')}Z` : '-'
}
