import { readdir, rm } from 'node:fs/promises'
import { z } from 'zod'
import { type Codec, codecText, F32 } from '../../core/codec.ts'
import { TapestryError } from '../../core/error.ts'
import type { LanguageTag } from '../../core/language-tag.ts'
import { type GetRoundResponse, RoundPhase } from '../../gen/proto/tapestry/v1/round_pb.ts'
import type { Io } from '../command.ts'
import { withOperator } from '../operator-client.ts'
import type { Result } from '../output.ts'
import { aborted } from '../signals.ts'
import { closingText } from './closing.ts'
import type { NodeText } from './corpus.ts'
import { COORDINATOR, DemoFederation } from './demo-federation.ts'
import { createLayout, type DemoLayout } from './demo-layout.ts'
import { demoLicence } from './demo-record.ts'
import { prepareText, sourceOf } from './demo-text.ts'
import { DemoView } from './demo-view.ts'
import { MemoryMeter } from './memory-meter.ts'
import type { ShownEvent } from './progress.ts'
import { type DemoReport, reportJson, unlearned } from './report.ts'
import { followRounds } from './round-follower.ts'
import { type SovereigntyReport, SovereigntyStory } from './sovereignty.ts'

export type DemoOptions = {
  readonly nodes: number
  readonly rounds: number
  readonly languages?: readonly LanguageTag[] | undefined
  readonly data?: string | undefined
  readonly codec?: Codec | undefined
  readonly keep?: string | undefined
  /** What is to be shown besides the loop. */
  readonly scenario?: 'sovereignty' | undefined
}

const RUN = 'demo'

/** Everything that one demonstration works with. */
type Stage = {
  readonly options: DemoOptions
  readonly io: Io
  readonly layout: DemoLayout
  readonly federation: DemoFederation
  readonly meter: MemoryMeter
  readonly view: DemoView
  readonly names: readonly string[]
  readonly story: SovereigntyStory | undefined
  /** Aborted at the end, however it comes: nothing may go on behind it. */
  readonly over: AbortController
}

/**
 * A federation on one machine, from nothing to a verified checkpoint, in real processes.
 * @throws TapestryError when a process or a round fails, a language did not learn, or the pulled checkpoint
 *   does not verify.
 */
export async function runDemo(options: DemoOptions, io: Io): Promise<Result> {
  const startedAt = io.clock.now()
  const stopping = io.stopSignal()
  const stage = await prepare(options, io)
  stage.meter.start()
  try {
    const outcome = await Promise.race([perform(stage), interrupted(stopping)])
    await end(stage)
    return await conclude(stage, outcome, startedAt)
  } catch (error) {
    await end(stage)
    await keepLogs(stage, stopping.aborted)
    throw error
  }
}

async function prepare(options: DemoOptions, io: Io): Promise<Stage> {
  const layout = await createLayout(options.keep)
  const meter = new MemoryMeter()
  const names = Array.from({ length: options.nodes }, (_, index) => `node-${index + 1}`)
  const view = new DemoView(io.output, options.rounds, names, () => io.clock.now())
  const federation = new DemoFederation(layout, io.env, meter)
  const story = options.scenario === 'sovereignty' ? new SovereigntyStory(federation, layout, view) : undefined
  return { options, io, layout, federation, meter, view, names, story, over: new AbortController() }
}

type Outcome = {
  readonly federation: string
  readonly rounds: readonly GetRoundResponse[]
  readonly checkpoint: DemoReport['checkpoint']
  readonly languages: readonly string[]
  readonly sovereignty: SovereigntyReport | undefined
}

/** The story, in order. */
async function perform(stage: Stage): Promise<Outcome> {
  const texts = await prepareText({ ...stage.options, nodes: stage.names }, stage.layout.text)
  stage.view.say('Starting a coordinator ...')
  const { address, federation } = await stage.federation.startCoordinator()
  stage.view.say(`Federation ${federation} at ${address}`)
  await invite(stage, texts)
  await stage.story?.prepare()
  await createRun(stage)
  for (const { node } of texts) runNode(stage, node)
  const rounds = await train(stage)
  const checkpoint = await pullAsStranger(stage, address, federation)
  const log = await stage.story?.exportLog(address, federation)
  const sovereignty = stage.story && log && { stopped: stage.story.stopped(rounds), log }
  const learning = texts.filter(({ node }) => stage.story?.staysToTheEnd(node) !== false)
  const languages = [...new Set(learning.flatMap((text) => text.languages))]
  return { federation, rounds, checkpoint, sovereignty, languages }
}

function runNode({ federation, view, story, options, io, over }: Stage, node: string): void {
  const onEvent = (event: ShownEvent) => {
    view.node(node, event)
    story?.heard(node, event)
  }
  if (story?.plays(node)) story.play(io.clock, over.signal, onEvent)
  else federation.run(node, options.rounds, onEvent)
}

async function invite(stage: Stage, texts: readonly NodeText[]): Promise<void> {
  await Promise.all(texts.map((text) => stage.federation.join(text)))
  for (const { node, languages } of texts) stage.view.say(`  ${node} joined with text in ${languages.join(', ')}`)
  stage.view.say('')
}

/** All nodes are here and healthy, so a round waits for every one of them: the windows only bound a hang. */
async function createRun({ federation, layout, options }: Stage): Promise<void> {
  const dir = ['--dir', layout.coordinator]
  const nodes = String(options.nodes)
  // Of four with two who are left out, two remain.
  const quorum = options.scenario === undefined ? nodes : '2'
  const floor = options.scenario === undefined ? [] : ['--quality-floor', 'norms']
  const counts = ['--target', nodes, '--quorum', quorum, '--rounds', String(options.rounds), ...floor]
  const plan = ['--preset', 'tiny', '--licence', demoLicence(sourceOf(options))]
  const codec = ['--codec', codecText(options.codec ?? F32)]
  const windows = ['--join-window', '5m', '--collect-window', '30m', '--evaluate-window', '30m']
  await federation.command(['run', 'create', RUN, ...dir, ...plan, ...counts, ...codec, ...windows, '--continuous'])
  await federation.command(['round', 'start', RUN, ...dir])
}

async function train({ federation, layout, options, io, view, over, story }: Stage): Promise<GetRoundResponse[]> {
  const rounds = await withOperator({ dir: layout.coordinator }, io.env, (channel) =>
    Promise.race([
      followRounds(channel, RUN, options.rounds, view, over.signal),
      federation.failed,
      ...(story === undefined ? [] : [story.failed]),
    ]),
  )
  const failed = rounds.find(({ round }) => round?.phase === RoundPhase.FAILED)
  if (failed === undefined) return rounds
  throw new TapestryError('FAILED_PRECONDITION', `round ${failed.round?.ref?.number} failed: ${failed.round?.reason}`)
}

const PULLED = z.looseObject({ digest: z.string(), version: z.number() })

/** Without a certificate, knowing only the federation's fingerprint: as anyone may. */
async function pullAsStranger(stage: Stage, address: string, trust: string): Promise<DemoReport['checkpoint']> {
  const { federation, layout, view } = stage
  const channel = 'global'
  view.say(`Pulling ${channel} as a stranger, and verifying it offline ...`)
  const request = ['pull', channel, '--from', address, '--trust', trust, '--output', layout.model, '--json']
  const answer = await federation.command(request)
  await federation.command(['verify', layout.model, '--trust', trust, '--json'], { name: 'verify' })
  const { digest, version } = PULLED.parse(JSON.parse(answer))
  return { version, digest, channel, path: layout.model }
}

/** Ends everything that was started. Can be called twice. */
async function end({ over, meter, view, federation }: Stage): Promise<void> {
  over.abort()
  meter.stop()
  view.close()
  await federation.stop()
}

async function conclude(stage: Stage, outcome: Outcome, startedAt: number): Promise<Result> {
  const { io, options, layout } = stage
  const report = reportOf(stage, outcome, startedAt)
  const text = closingText(report, outcome.federation, options, layout, io.env)
  const result = { json: reportJson(report), text }
  requireLearning(outcome, () => io.output.json && io.output.result(result))
  const { coordinator, nodes, text: texts, logs, config } = layout
  if (options.keep === undefined) await removeAll([coordinator, nodes, texts, logs, config])
  return result
}

function reportOf({ io, meter, names }: Stage, outcome: Outcome, startedAt: number): DemoReport {
  return {
    rounds: outcome.rounds,
    checkpoint: outcome.checkpoint,
    verified: true,
    ...(outcome.sovereignty && { sovereignty: outcome.sovereignty }),
    wallSeconds: Math.round((io.clock.now() - startedAt) / 100) / 10,
    peakRssMb: {
      coordinator: meter.peakMb(COORDINATOR),
      node: Math.max(...names.map((name) => meter.peakMb(name))),
    },
  }
}

/** After a failure the logs are what counts; who interrupts it, or fails before it begins, has no use for any. */
async function keepLogs({ io, options, layout }: Stage, interrupted: boolean): Promise<void> {
  const useful = !interrupted && (await readdir(layout.logs)).length > 0
  if (useful) io.output.note(`the logs are in ${layout.logs}`)
  else if (options.keep === undefined) await removeAll([layout.root])
}

async function removeAll(paths: readonly string[]): Promise<void> {
  for (const path of paths) await rm(path, { recursive: true, force: true })
}

function requireLearning({ rounds, languages }: Outcome, reportFirst: () => void): void {
  const failed = unlearned(rounds, languages)
  if (failed.length === 0) return
  reportFirst()
  const list = failed.map(
    ({ language, first, last }) => `${language} (${first ?? 'not measured'} > ${last ?? 'not measured'})`,
  )
  throw new TapestryError('FAILED_PRECONDITION', `the loss did not fall in ${list.join(', ')}`)
}

async function interrupted(signal: AbortSignal): Promise<never> {
  await aborted(signal)
  throw new TapestryError('UNAVAILABLE', 'interrupted')
}
