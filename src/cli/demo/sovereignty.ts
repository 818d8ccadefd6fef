import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import type { Clock } from '../../core/clock.ts'
import { digestOf } from '../../core/digest.ts'
import { TapestryError } from '../../core/error.ts'
import { ensureLanguageTag } from '../../core/language-tag.ts'
import type { ContributionSummary, GetRoundResponse } from '../../gen/proto/tapestry/v1/round_pb.ts'
import { nodeEventJson } from '../node-event-view.ts'
import type { DemoFederation } from './demo-federation.ts'
import type { DemoLayout } from './demo-layout.ts'
import type { DemoView } from './demo-view.ts'
import { type ShownEvent, shownEvent } from './progress.ts'
import { declarationLines } from './udhr.ts'

/** The cast. Everybody else is honest. */
const SHARER = 'node-2'
const WITHDRAWER = 'node-3'
const POISONER = 'node-4'
/** The withdrawal comes while this round is being trained. */
const WITHDRAWAL_ROUND = 2

/** Fixed, because each of the cast has a part. */
export const SOVEREIGNTY = { nodes: 4, rounds: WITHDRAWAL_ROUND } as const

/** A text whose licence binds what is made of it, in a language that nobody else brings. */
const COMMONS = { id: 'commons', language: ensureLanguageTag('mi'), licence: 'CC-BY-SA-4.0' } as const
/** What every node of the demonstration calls its own text. */
const OWN_RECORD = 'declaration'

/** What was kept out of the model. `by`: who did it, by which rule; `weight`: what it had in the merge. */
export type Stopped = {
  readonly what: 'share-alike record' | 'poisoned update' | 'withdrawn consent'
  readonly node: string
  readonly round: number
  readonly by: string
  readonly code: string
  readonly weight: number
  readonly reason: string
}

/** The log as a stranger has exported and verified it. */
export type VerifiedLog = { readonly entries: number; readonly root: string; readonly path: string }
export type SovereigntyReport = { readonly stopped: readonly Stopped[]; readonly log: VerifiedLog }

const EXCLUDED = z.looseObject({
  type: z.literal('dataset-excluded'),
  round: z.number(),
  dataset: z.literal(COMMONS.id),
  reason: z.string(),
  detail: z.string(),
})
type Excluded = z.infer<typeof EXCLUDED>
const EXPORTED = z.looseObject({ size: z.number(), root: z.string() })

/**
 * Three things that must not reach a shared model, in one federation: a share-alike text, a poisoned update, and data
 * whose consent ends while a round is being trained. Each is stopped by another rule.
 */
export class SovereigntyStory {
  readonly #federation: DemoFederation
  readonly #layout: DemoLayout
  readonly #view: DemoView
  readonly #excluded: Excluded[] = []
  #withdrawing: Promise<string> | undefined
  #fail: (error: unknown) => void = () => undefined
  /** Rejects when a part of the story fails. */
  readonly failed: Promise<never>

  constructor(federation: DemoFederation, layout: DemoLayout, view: DemoView) {
    this.#federation = federation
    this.#layout = layout
    this.#view = view
    this.failed = new Promise((_, reject) => {
      this.#fail = reject
    })
    this.failed.catch(() => undefined)
  }

  /** Gives a node the share-alike text, declared as such: to be called once the nodes have joined. */
  async prepare(): Promise<void> {
    const { id, language, licence } = COMMONS
    const folder = join(this.#layout.text, id)
    await mkdir(folder)
    await writeFile(join(folder, `${language}.txt`), `${(await declarationLines(language)).join('\n')}\n`)
    const evidence = digestOf(
      'The translators share this text on the condition that what is made of it is shared alike.',
    )
    const consent = ['--consent', 'agreement', '--evidence', evidence, '--granted', '2026-01-01']
    const terms = ['--steward', `${SHARER}-owner`, '--licence', licence, '--use', 'pretraining', 'evaluation']
    const where = ['--dir', this.#directoryOf(SHARER), '--data', folder]
    await this.#federation.command(['dataset', 'add', id, ...where, ...terms, ...consent])
    this.#view.say(`  ${SHARER} also holds ${language} text under ${licence}; ${POISONER} means harm`)
  }

  /** Whether the story runs a node itself. */
  plays(node: string): boolean {
    return node === POISONER
  }

  /** Whether its text is used and measured to the end: whose consent is gone is not asked for scores either. */
  staysToTheEnd(node: string): boolean {
    return node !== WITHDRAWER
  }

  /** Runs the poisoner until it has seen its rounds, or the signal is aborted. */
  play(clock: Clock, signal: AbortSignal, onEvent: (event: ShownEvent) => void): void {
    this.#play(clock, signal, onEvent).catch((error: unknown) => {
      if (!signal.aborted) this.#fail(error)
    })
  }

  async #play(clock: Clock, signal: AbortSignal, onEvent: (event: ShownEvent) => void): Promise<void> {
    // The other demonstration goes without a node in its own process.
    const { runPoisonedNode } = await import('./poisoned-node.ts')
    const place = { directory: this.#directoryOf(POISONER), rounds: SOVEREIGNTY.rounds }
    await runPoisonedNode({ ...place, clock, signal, onEvent: (event) => onEvent(shownEvent(nodeEventJson(event))) })
  }

  /** Hears what the nodes tell, and lets one take its consent back in the middle of its training. */
  heard(node: string, event: ShownEvent): void {
    const excluded = EXCLUDED.safeParse(event)
    if (node === SHARER && excluded.success) this.#excluded.push(excluded.data)
    const now = node === WITHDRAWER && event.type === 'training' && event['round'] === WITHDRAWAL_ROUND
    if (!now || this.#withdrawing !== undefined) return
    this.#view.say(`${WITHDRAWER} withdraws the consent for its text while it is being trained on`)
    const where = ['--dir', this.#directoryOf(WITHDRAWER)]
    this.#withdrawing = this.#federation.command(['dataset', 'withdraw', OWN_RECORD, ...where, '--yes', '--json'])
    this.#withdrawing.catch(this.#fail)
  }

  /** Exports the log as a stranger, and verifies it offline. */
  async exportLog(address: string, trust: string): Promise<VerifiedLog> {
    const path = join(this.#layout.root, 'log')
    const answer = await this.#federation.command([
      'log',
      'export',
      path,
      '--from',
      address,
      '--trust',
      trust,
      '--json',
    ])
    await this.#federation.command(['log', 'verify', path, '--trust', trust, '--json'])
    const { size, root } = EXPORTED.parse(JSON.parse(answer))
    return { entries: size, root, path }
  }

  /** What was stopped, by whom and why. @throws TapestryError VERIFICATION_FAILED when something reached the model. */
  stopped(rounds: readonly GetRoundResponse[]): readonly Stopped[] {
    const parts = rounds.flatMap((round) =>
      round.contributions.map((part) => ({ part, round: round.round?.ref?.number ?? 0 })),
    )
    const shared = parts.some(({ part }) => part.languages.some(({ language }) => language === COMMONS.language))
    if (shared) throw reached(COMMONS.licence)
    const found = [...this.#excluded.map(excludedBy), ...parts.flatMap(({ part, round }) => stoppedIn(part, round))]
    for (const what of ['share-alike record', 'poisoned update', 'withdrawn consent'] as const) {
      if (!found.some((one) => one.what === what)) throw reached(what)
    }
    return found
  }

  #directoryOf(node: string): string {
    return join(this.#layout.nodes, node)
  }
}

function excludedBy({ round, reason, detail }: Excluded): Stopped {
  const by = 'the node, by the licence of the run'
  return { what: 'share-alike record', node: SHARER, round, by, code: reason, weight: 0, reason: detail }
}

function stoppedIn({ nodeName, rejection, weight, weightReason }: ContributionSummary, round: number): Stopped[] {
  if (nodeName === POISONER) {
    if (weight > 0) throw reached('a poisoned update')
    const by = 'the coordinator, by the quality floor'
    return [{ what: 'poisoned update', node: POISONER, round, by, code: 'BELOW_FLOOR', weight, reason: weightReason }]
  }
  if (nodeName !== WITHDRAWER || rejection === undefined) return []
  const by = 'the coordinator, by the consent behind the record'
  const { reason: code, detail: reason } = rejection
  return [{ what: 'withdrawn consent', node: WITHDRAWER, round, by, code, weight, reason }]
}

function reached(what: string): TapestryError {
  return new TapestryError('VERIFICATION_FAILED', `${what} was not kept out of the model`)
}

/** What was stopped, for people. */
export function stoppedText({ stopped, log }: SovereigntyReport): string {
  const lines = stopped.map(
    ({ what, node, round, by, code, weight, reason }) =>
      `  round ${round}: ${what} of ${node}, weight ${weight}: stopped by ${by}: ${code}: ${reason}`,
  )
  return ['Kept out of the model:', ...lines, `The log, ${log.entries} entries, is verified.`].join('\n')
}
