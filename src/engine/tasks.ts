import { writeSafetensors } from '../model/safetensors.ts'
import type { TensorSpec } from '../model/tensor.ts'
import { ensureEngineTakes } from '../plan/budget.ts'
import { parameterSpecs } from '../plan/parameters.ts'
import { verifyPlan } from '../plan/plan.ts'
import { randomFrom } from '../plan/random.ts'
import type { PlanSpec } from '../plan/spec.ts'
import { type Corpus, loadDataset } from './dataset.ts'
import { ownWeights, writeOwnWeights } from './elastic.ts'
import { Guard } from './exclusions.ts'
import type { Progress, ScoreResult, ScoreTask, TrainedLanguage, TrainResult, TrainTask } from './messages.ts'
import { ProgressMeter } from './progress-meter.ts'
import { type DetailedScore, openScorer, type Scorer } from './scoring.ts'
import { countedTokens } from './sequences.ts'
import { floatsOf, readWeights, requireFinite, type Tensors } from './session.ts'
import { competingVocabulary, proximalBase, trainSteps } from './training.ts'
import { TrainingMix } from './training-mix.ts'

/** Runs a train task in this process: measures, trains, measures again, writes the delta. */
export async function runTrain(task: TrainTask, onProgress: (progress: Progress) => void): Promise<TrainResult> {
  const started = performance.now()
  const { spec } = task.plan
  ensureEngineTakes(spec.architecture)
  const graphs = verifyPlan(task.plan)
  const guard = new Guard(task.exclusions)
  const corpora = await loadDataset(task.sources, splitOf(spec), guard)
  const parameters = parameterSpecs(spec)
  const baseWeights = await readWeights(task.baseWeights, parameters)
  const base = copyOf(baseWeights, parameters)
  const scorer = await openScorer(spec, graphs.score)
  const before = await scoreAll(scorer, baseWeights, corpora)
  const { elastic } = spec.training
  const weights = (elastic && (await ownWeights(task.elastic, parameters))) ?? baseWeights
  const mix = new TrainingMix(corpora, spec.training.sequenceLength, (corpus) =>
    randomFrom(`order ${JSON.stringify([spec.seed, task.seed])} ${corpus}`),
  )
  const meter = new ProgressMeter(spec, onProgress)
  await trainSteps(
    spec,
    graphs.train,
    weights,
    () => mix.next(),
    { ...competingVocabulary(spec, corpora), ...proximalBase(spec, base) },
    (report) => meter.report(report),
  )
  const after = await scoreAll(scorer, weights, corpora)
  await scorer.close()
  if (elastic !== undefined && task.elastic !== undefined) {
    await writeOwnWeights(task.elastic.out, elastic.alpha, weights, base, parameters)
  }
  await writeDelta(task.outDelta, weights, base, parameters)
  const languages = corpora.map((corpus) => trainedLanguage(corpus, mix, before, after))
  const { lossFirst, lossLast } = meter
  const { localSteps: steps } = spec.training
  return { kind: 'train', languages, excluded: guard.excluded, steps, lossFirst, lossLast, ...usageSince(started) }
}

/** Runs a score task in this process. */
export async function runScore(task: ScoreTask): Promise<ScoreResult> {
  const started = performance.now()
  const { spec } = task.plan
  ensureEngineTakes(spec.architecture)
  const graphs = verifyPlan(task.plan)
  const corpora = await loadDataset(task.sources, splitOf(spec), new Guard(task.exclusions))
  const scorer = await openScorer(spec, graphs.score)
  const weights: ScoreResult['weights'][number][] = []
  for (const { name, files } of task.weights) {
    const scores = await scoreAll(scorer, await readWeights(files, parameterSpecs(spec)), corpora)
    const languages = corpora.map((corpus) => ({
      language: corpus.language,
      community: corpus.community,
      ...scoreOf(scores, corpus).score,
      sequences: scoreOf(scores, corpus).sequences,
    }))
    weights.push({ name, languages })
  }
  await scorer.close()
  return { kind: 'score', weights, ...usageSince(started) }
}

function splitOf({ seed, evaluation }: PlanSpec) {
  return { seed, heldOutFraction: evaluation.heldOutFraction }
}

async function scoreAll(
  scorer: Scorer,
  weights: Tensors,
  corpora: readonly Corpus[],
): Promise<Map<Corpus, DetailedScore>> {
  const scores = new Map<Corpus, DetailedScore>()
  for (const corpus of corpora) scores.set(corpus, await scorer.score(weights, corpus))
  return scores
}

function scoreOf(scores: ReadonlyMap<Corpus, DetailedScore>, corpus: Corpus): DetailedScore {
  const score = scores.get(corpus)
  if (!score) throw new Error(`${corpus.language} was not scored`)
  return score
}

function trainedLanguage(
  corpus: Corpus,
  mix: TrainingMix,
  before: ReadonlyMap<Corpus, DetailedScore>,
  after: ReadonlyMap<Corpus, DetailedScore>,
): TrainedLanguage {
  const { tokens, begun, records } = mix.drawn(corpus)
  return {
    language: corpus.language,
    community: corpus.community,
    tokens,
    documents: Math.min(begun, corpus.train.length),
    heldOutTokens: countedTokens(corpus.heldOut),
    before: scoreOf(before, corpus).score,
    after: scoreOf(after, corpus).score,
    beforeSequences: scoreOf(before, corpus).sequences,
    records: [...records].map(([record, count]) => ({ record, tokens: count })),
  }
}

function copyOf(weights: Tensors, parameters: readonly TensorSpec[]): Map<string, Float32Array> {
  return new Map(parameters.map(({ name }) => [name, floatsOf(weights, name).slice()]))
}

/** Writes trained minus base. @throws TapestryError ENGINE_FAILED when it is not finite; DISK_FULL; NOT_FOUND */
async function writeDelta(
  path: string,
  weights: Tensors,
  base: ReadonlyMap<string, Float32Array>,
  parameters: readonly TensorSpec[],
): Promise<void> {
  const tensors = parameters.map((parameter) => {
    const start = base.get(parameter.name) ?? new Float32Array()
    const data = floatsOf(weights, parameter.name).map((value, index) => value - (start[index] ?? 0))
    requireFinite(parameter.name, data)
    return { ...parameter, data }
  })
  await writeSafetensors(path, tensors)
}

function usageSince(started: number): { readonly wallMs: number; readonly peakRssMb: number } {
  const peakRssMb = Math.round(process.resourceUsage().maxRSS / 1024)
  return { wallMs: Math.round(performance.now() - started), peakRssMb }
}
