import { displayWidth, type Terminal } from './terminal.ts'

type Sink = { write(text: string): unknown }

/** Redrawing more often than the eye follows only costs the nodes their processor. */
const REDRAW_MS = 100

/** The last lines of a terminal, redrawn in place. Use only where `terminal.live`. */
export class LiveRegion {
  readonly #sink: Sink
  readonly #terminal: Terminal
  readonly #now: () => number
  #height = 0
  #drawnAt = Number.NEGATIVE_INFINITY

  constructor(sink: Sink, terminal: Terminal, now: () => number) {
    this.#sink = sink
    this.#terminal = terminal
    this.#now = now
  }

  /** Shows `lines` in place of the last ones, unless they were drawn a moment ago. */
  draw(lines: readonly string[]): void {
    const now = this.#now()
    if (now - this.#drawnAt < REDRAW_MS) return
    this.#drawnAt = now
    this.#sink.write(`${this.#erasure()}${lines.map((line) => `${this.#fit(line)}\n`).join('')}`)
    this.#height = lines.length
  }

  /** Clears the region, and writes `text` above where it will be drawn next. */
  print(text: string): void {
    this.clear()
    this.#sink.write(`${text}\n`)
  }

  /** Takes the region off the screen. */
  clear(): void {
    if (this.#height > 0) this.#sink.write(this.#erasure())
    this.#height = 0
    this.#drawnAt = Number.NEGATIVE_INFINITY
  }

  /** Up over the region, clearing to the end of the screen. */
  #erasure(): string {
    return this.#height > 0 ? `\u001b[${this.#height}A\u001b[0J` : ''
  }

  /** A line that wraps would break the count of lines to go up. */
  #fit(line: string): string {
    if (displayWidth(line) < this.#terminal.columns) return line
    return `${[...line].slice(0, Math.max(0, this.#terminal.columns - 2)).join('')}\u001b[0m`
  }
}
