import type { Json } from '../core/canonical-json.ts'
import { type Terminal, terminalOf } from './terminal.ts'

type Sink = {
  write(text: string): unknown
  readonly isTTY?: boolean | undefined
  readonly columns?: number | undefined
}

/** What a command answers: one value, for programs and for people. */
export type Result = { readonly json: Json; readonly text: string }

/** Where a command writes: data to stdout, everything else to stderr. */
export class Output {
  readonly json: boolean
  readonly quiet: boolean
  readonly stdout: Sink
  readonly stderr: Sink
  /** What stderr can show: progress is drawn there. */
  readonly terminal: Terminal
  /** What stdout can show. */
  readonly dataTerminal: Terminal

  constructor(options: {
    readonly json: boolean
    readonly quiet: boolean
    readonly stdout: Sink
    readonly stderr: Sink
    readonly env: Readonly<Record<string, string | undefined>>
  }) {
    this.json = options.json
    this.quiet = options.quiet
    this.stdout = options.stdout
    this.stderr = options.stderr
    this.terminal = terminalOf(options.stderr, options.env)
    this.dataTerminal = terminalOf(options.stdout, options.env)
  }

  /** The command's data, on stdout. */
  result(result: Result): void {
    if (this.json) this.stdout.write(`${JSON.stringify(result.json)}\n`)
    else if (result.text !== '') this.stdout.write(`${result.text}\n`)
  }

  /** One line of progress, on stderr unless --quiet. */
  note(text: string): void {
    if (!this.quiet) this.stderr.write(`${text}\n`)
  }
}
