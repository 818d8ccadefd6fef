import {
  type GetRoundResponse,
  type LanguageScore,
  type Round,
  RoundPhase,
} from '../../gen/proto/tapestry/v1/round_pb.ts'
import { LiveRegion } from '../live-region.ts'
import type { Output } from '../output.ts'
import { changeText, contributionsTable, phaseName } from '../round-view.ts'
import { bar, paint, printable, shortDigest, sparkline, table } from '../terminal.ts'
import type { ShownEvent } from './progress.ts'

/** What a node was last heard doing. */
type NodeState = { stage: string; fraction: number; loss: number | undefined }

const BAR_COLUMNS = 24

/**
 * Shows the demonstration on stderr: on a terminal a bar for each node, redrawn in place; in a
 * pipe one line for each change. Ended rounds stay on the screen in both.
 */
export class DemoView {
  readonly #output: Output
  readonly #region: LiveRegion | undefined
  readonly #nodes = new Map<string, NodeState>()
  readonly #rounds: number
  #round: Round | undefined
  #seen = ''
  /** Candidate losses by language, round after round, for the sparklines. */
  readonly #history = new Map<string, number[]>()

  constructor(output: Output, rounds: number, nodes: readonly string[], now: () => number) {
    this.#output = output
    this.#rounds = rounds
    for (const node of nodes) this.#nodes.set(node, { stage: 'waiting', fraction: 0, loss: undefined })
    const { terminal, stderr, quiet } = output
    this.#region = terminal.live && !quiet ? new LiveRegion(stderr, terminal, now) : undefined
  }

  /** A line that stays. */
  say(text: string): void {
    if (this.#output.quiet) return
    if (this.#region) this.#region.print(text)
    else this.#output.note(text)
    this.#draw()
  }

  /** Something happened at a node. */
  node(name: string, event: ShownEvent): void {
    const state = this.#nodes.get(name)
    if (state === undefined) return
    // Rounds have a line of their own; what the node itself does is shown here.
    if (event.type !== 'round') state.stage = event.type
    if (event.step !== undefined && event.steps !== undefined) state.fraction = event.step / event.steps
    state.loss = event.loss ?? state.loss
    this.#draw()
  }

  /** The present state of the round under way. */
  round(round: Round): void {
    const next = `${round.ref?.number} ${phaseName(round.phase)} ${round.accepted} ${round.evaluated}`
    if (next === this.#seen) return
    if (round.ref?.number !== this.#round?.ref?.number) this.#rest()
    this.#seen = next
    this.#round = round
    if (this.#region) this.#draw()
    else this.#output.note(this.#headline(round))
  }

  /** A round has ended: what came of it stays on the screen. */
  ended(response: GetRoundResponse): void {
    const { round, contributions, languages } = response
    const phase = phaseName(round?.phase ?? 0)
    const style = round?.phase === RoundPhase.PUBLISHED ? 'green' : 'red'
    const checkpoint = round?.checkpointDigest
      ? `checkpoint ${shortDigest(round.checkpointDigest)}`
      : printable(round?.reason ?? '')
    const { terminal } = this.#output
    const title = `Round ${round?.ref?.number} of ${this.#rounds}: ${paint(terminal, style, phase)}, ${checkpoint}`
    const parts = [paint(terminal, 'bold', title), contributionsTable(contributions), this.#languages(languages)]
    this.say(`${parts.filter((part) => part !== '').join('\n')}\n`)
    this.#rest()
  }

  /** Takes the bars off the screen. */
  close(): void {
    this.#region?.clear()
  }

  #rest(): void {
    for (const state of this.#nodes.values()) Object.assign(state, { stage: 'waiting', fraction: 0, loss: undefined })
  }

  #languages(scores: readonly LanguageScore[]): string {
    const first = (language: string, base: number) => this.#history.get(language)?.[0] ?? base
    const rows = scores.flatMap(({ language, base, candidate }) => {
      if (base === undefined || candidate === undefined) return []
      const history = this.#history.get(language) ?? [base.mean]
      this.#history.set(language, [...history, candidate.mean])
      return [
        [
          printable(language),
          `${base.mean.toFixed(3)} > ${candidate.mean.toFixed(3)}`,
          changeText(base.mean, candidate.mean),
          bar(candidate.mean / first(language, base.mean), BAR_COLUMNS),
          sparkline([...history, candidate.mean]),
        ],
      ]
    })
    const columns = [{ title: 'LANGUAGE' }, { title: 'BASE > CANDIDATE' }, { title: 'CHANGE', align: 'right' as const }]
    return table([...columns, { title: 'OF THE FIRST LOSS' }, { title: 'ALL ROUNDS' }], rows)
  }

  #headline(round: Round): string {
    const counts = {
      [RoundPhase.OPEN]: `, ${round.roster} joined`,
      [RoundPhase.COLLECTING]: `, ${round.accepted} of ${round.roster} contributions`,
      [RoundPhase.REVIEWING]: `, ${round.reviewed} of ${round.reviews} reviews`,
      [RoundPhase.EVALUATING]: `, ${round.evaluated} of ${round.accepted} evaluations`,
    }
    const count = Object.entries(counts).find(([phase]) => Number(phase) === round.phase)?.[1] ?? ''
    return `round ${round.ref?.number} of ${this.#rounds}: ${phaseName(round.phase)}${count}`
  }

  #draw(): void {
    if (this.#region === undefined || this.#round === undefined) return
    const { terminal } = this.#output
    const width = Math.max(...[...this.#nodes.keys()].map((name) => name.length))
    const lines = [...this.#nodes].map(([name, { stage, fraction, loss }]) => {
      const value = loss === undefined ? '' : `  loss ${loss.toFixed(3)}`
      return `  ${name.padEnd(width)}  ${paint(terminal, 'cyan', bar(fraction, BAR_COLUMNS))}  ${stage}${value}`
    })
    this.#region.draw([paint(terminal, 'bold', this.#headline(this.#round)), ...lines])
  }
}
