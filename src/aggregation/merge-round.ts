import { rm } from 'node:fs/promises'
import { assertNever } from '../core/assert.ts'
import { F32 } from '../core/codec.ts'
import { TapestryError } from '../core/error.ts'
import { mostContributions, type Strategy, strategyText } from '../core/strategy.ts'
import { clippedCoefficients, elasticCoefficients, krumCoefficients, medianCoefficients } from './coefficients.ts'
import { compareDeltas, type DotProducts, measureNorms, sampling } from './compare.ts'
import { ensureRequest, type MergeRequest, type MergeResult } from './merge.ts'
import { ELEMENT_BYTES, mergeError } from './merge-layout.ts'
import { type MergeSources, openSources } from './merge-sources.ts'
import type { CombineRule, OptimizerTask } from './merge-task.ts'
import { install, sync, temporaryFor, writeMerge } from './merge-writer.ts'
import { createState, readStateLayouts } from './optimizer-state.ts'
import { stateVectorsOf } from './strategies/optimiser-of.ts'

export type RoundRequest = MergeRequest & {
  readonly strategy: Strategy
  /** The optimizer's state, for strategies that have one: of the base (nothing before the first merge), and where the next goes. */
  readonly optimizer?: { readonly before: string | undefined; readonly out: string } | undefined
  /** Compare the deltas with each other also when the strategy does not ask for it: for people. */
  readonly compare?: boolean | undefined
}

export type RoundResult = MergeResult & {
  /** What each delta was multiplied by; undefined for order statistics, which have no such numbers. */
  readonly coefficients: readonly number[] | undefined
  /** Of all pairs; undefined when nobody asked, or for more than {@link MOST_SHOWN} deltas that the strategy need not compare. */
  readonly dots: DotProducts | undefined
  /** Elements of the model. */
  readonly elements: number
}

/** More deltas than this are not compared for people: nobody reads a matrix of that size. */
export const MOST_SHOWN = 64

/** A rule, and what was learned on the way to it. */
type Decision = { readonly rule: CombineRule; readonly dots?: DotProducts }

/**
 * Merges a round by its strategy, out of core. Like `mergeMean`, whose arithmetic it shares: bytes and
 * statistics depend on the deltas, their order and weights and the strategy alone, not on threads or
 * blocks, and memory does not grow with the model. What depends on the whole of each delta (norms to
 * clip by, distances) is measured in a pass of its own, from the files alone, so that a replay finds
 * the same numbers; then coefficients are decided, and one pass writes. Weights count in the means and
 * the geometric median; medians, trimmed means and Krum ignore them, as their papers do.
 *
 * Encoded deltas are decoded on the way: the merge is exactly that of the F32 files with the decoded values.
 * With an optimizer the merged delta, rounded to f32, goes through it before it is added to the base.
 *
 * @throws TapestryError as `mergeMean`; INVALID_ARGUMENT for more or fewer deltas than the strategy is
 *   defined for, or an optimizer's state missing or too many; DATA_INVALID for a state of another model
 *   or a delta of another codec
 */
export async function mergeRound(request: RoundRequest): Promise<RoundResult> {
  ensureRequest(request)
  ensureStrategyFits(request)
  const sources = await openSources(request.base, request.deltas, request.codec ?? F32)
  const passes = passesOf(request, sources)
  const { rule, dots } = await decide(request, sources, passes)
  const { out, shardBytes, shape } = request
  const written = await withOptimizer(request, sources, (optimizer) =>
    writeMerge(sources, { ...watchOf(request, passes), out, shardBytes, rule, optimizer, shape }),
  )
  const coefficients = rule.kind === 'weighted' ? rule.coefficients : undefined
  return { ...written, coefficients, dots, elements: sources.elements }
}

/** Whether the strategy has an optimizer that remembers from one merge to the next. */
export function keepsState(strategy: Strategy): boolean {
  return stateVectorsOf(strategy).length > 0
}

function ensureStrategyFits({ strategy, deltas, optimizer }: RoundRequest): void {
  const refuse = (problem: string) => {
    throw new TapestryError('INVALID_ARGUMENT', `${strategyText(strategy)} ${problem}`)
  }
  if (deltas.length > mostContributions(strategy)) refuse(`does not take ${deltas.length} contributions`)
  if (strategy.name === 'trimmed-mean' && 2 * strategy.parameters.trim >= deltas.length) {
    refuse(`leaves nothing of ${deltas.length} contributions`)
  }
  if (keepsState(strategy) !== (optimizer !== undefined)) {
    refuse(optimizer === undefined ? 'needs a place for its state' : 'keeps no state')
  }
}

/** Passes over the data, so that progress counts through all of them. */
type Passes = { done: number; readonly count: number; readonly bytes: number }

function passesOf({ strategy, deltas, compare }: RoundRequest, { elements }: MergeSources): Passes {
  const shown = compare === true && deltas.length <= MOST_SHOWN && !comparesAll(strategy)
  const count = 1 + Number(shown) + Number(comparesAll(strategy)) + Number(strategy.name === 'clipped-mean')
  return { done: 0, count, bytes: elements * ELEMENT_BYTES }
}

function comparesAll({ name }: Strategy): boolean {
  return name === 'krum' || name === 'multi-krum' || name === 'geometric-median'
}

/** How the next pass is watched. */
function watchOf({ threads, signal, onProgress }: RoundRequest, passes: Passes) {
  const before = passes.done * passes.bytes
  passes.done += 1
  const report = (done: number) => onProgress?.(before + done, passes.count * passes.bytes)
  return { threads, signal, onProgress: report }
}

async function decide(request: RoundRequest, sources: MergeSources, passes: Passes): Promise<Decision> {
  const { strategy, deltas } = request
  const weights = deltas.map(({ weight }) => weight)
  const shown = () => comparedForPeople(request, sources, passes)
  switch (strategy.name) {
    case 'mean':
    case 'fedavgm':
    case 'fedadam':
    case 'fedyogi':
    case 'fedadagrad':
    case 'diloco':
    case 'fedprox':
      return { rule: weighted(weights), ...(await shown()) }
    case 'easgd':
      return { rule: weighted(elasticCoefficients(weights, strategy.parameters.alpha)), ...(await shown()) }
    case 'median':
      return { rule: { kind: 'median' }, ...(await shown()) }
    case 'trimmed-mean':
      return { rule: { kind: 'trimmed', trim: strategy.parameters.trim }, ...(await shown()) }
    case 'clipped-mean': {
      const norms = await measureNorms(sources.deltas, sources.elements, watchOf(request, passes))
      return { rule: weighted(clippedCoefficients(weights, norms, strategy.parameters.limit)), ...(await shown()) }
    }
    case 'krum':
    case 'multi-krum': {
      const dots = await compareDeltas(sources.deltas, sources.elements, watchOf(request, passes))
      const chosen = strategy.name === 'krum' ? 1 : strategy.parameters.chosen
      return { rule: weighted(krumCoefficients(dots, strategy.parameters.byzantine, chosen)), dots }
    }
    case 'geometric-median': {
      const dots = await compareDeltas(sources.deltas, sources.elements, watchOf(request, passes))
      return { rule: weighted(medianCoefficients(dots, weights, strategy.parameters.smoothing)), dots }
    }
    default:
      return assertNever(strategy)
  }
}

function weighted(coefficients: readonly number[]): CombineRule {
  return { kind: 'weighted', coefficients }
}

/** Compares deltas that the strategy does not compare, if it was asked for. */
async function comparedForPeople(
  request: RoundRequest,
  { deltas, elements }: MergeSources,
  passes: Passes,
): Promise<Pick<Decision, 'dots'>> {
  if (request.compare !== true || deltas.length > MOST_SHOWN) return {}
  const every = sampling(elements, deltas.length)
  return { dots: await compareDeltas(deltas, elements, { ...watchOf(request, passes), every }) }
}

/** Runs the merge with a place for the optimizer's next state, which appears whole or not at all. */
async function withOptimizer<T>(
  { strategy, optimizer }: RoundRequest,
  { model }: MergeSources,
  merge: (task: OptimizerTask | undefined) => Promise<T>,
): Promise<T> {
  if (optimizer === undefined) return merge(undefined)
  const path = temporaryFor(optimizer.out)
  try {
    const before = optimizer.before === undefined ? [] : await readStateLayouts(optimizer.before, strategy, model)
    const dataBegin = await createState(path, strategy, model)
    const result = await merge({ strategy, before, path, dataBegin })
    await sync(path)
    await install(path, optimizer.out)
    return result
  } catch (cause) {
    await rm(path, { force: true })
    throw mergeError(optimizer.out, cause)
  }
}
