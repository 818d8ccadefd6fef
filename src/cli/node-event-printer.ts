import type { NodeEvent } from '../participant/node-event.ts'
import { LiveRegion } from './live-region.ts'
import { nodeEventJson, nodeEventText, nodeProgressText } from './node-event-view.ts'
import type { Output } from './output.ts'
import { bar } from './terminal.ts'

const BAR_COLUMNS = 24
/** A long download reports every few kilobytes: a log of that would be larger than what it is about. */
const PROGRESS_MS = 500

/** Shows what a node does: lines of JSON on stdout, or sentences on stderr with one line that moves. */
export class NodeEventPrinter {
  readonly #output: Output
  readonly #region: LiveRegion | undefined
  readonly #now: () => number
  #progressAt = Number.NEGATIVE_INFINITY

  constructor(output: Output, now: () => number) {
    const { terminal, stderr, quiet, json } = output
    this.#output = output
    this.#now = now
    this.#region = terminal.live && !quiet && !json ? new LiveRegion(stderr, terminal, now) : undefined
  }

  print(event: NodeEvent): void {
    if (!this.#output.json) this.#show(event)
    else if (this.#isWorthALine(event)) this.#output.result({ json: nodeEventJson(event), text: '' })
  }

  /** Progress is thinned out, all but its end; everything else is told. */
  #isWorthALine(event: NodeEvent): boolean {
    const progress = nodeProgressText(event)
    if (progress === undefined) return true
    const now = this.#now()
    if (progress.fraction < 1 && now - this.#progressAt < PROGRESS_MS) return false
    this.#progressAt = now
    return true
  }

  #show(event: NodeEvent): void {
    const text = nodeEventText(event)
    const progress = nodeProgressText(event)
    if (progress !== undefined) this.#region?.draw([`${bar(progress.fraction, BAR_COLUMNS)}  ${progress.text}`])
    if (text === undefined) return
    if (this.#region) this.#region.print(text)
    else this.#output.note(text)
  }

  close(): void {
    this.#region?.clear()
  }
}
