import type { InferenceSession } from 'onnxruntime-node'
import { TapestryError } from '../core/error.ts'
import { PAD_ID } from '../model/tokenizer.ts'
import type { PlanSpec } from '../plan/spec.ts'
import type { Corpus } from './dataset.ts'
import type { Score } from './messages.ts'
import { type Sequence, scoringSequences } from './sequences.ts'
import { batchTensors, floatsOf, openSession, type Tensors } from './session.ts'

/** Sum of the negative log-likelihood of one sequence, in nats, and its number of counted tokens. */
export type SequenceLoss = { readonly loss: number; readonly count: number }

/**
 * Mean nats per token and its standard error over sequences. Sequences hold different numbers of
 * tokens, so the mean is a ratio of sums and its error is that of the ratio estimator:
 * sqrt(n / (n - 1) * sum (loss_i - mean * count_i)^2) / sum count_i (Cochran, Sampling Techniques,
 * 3rd ed., section 6.4). One sequence has no spread: its error is given as the mean itself, so that
 * nothing is concluded from it.
 */
export function summarise(sequences: readonly SequenceLoss[]): Score {
  const counted = sequences.filter(({ count }) => count > 0)
  const tokens = counted.reduce((sum, { count }) => sum + count, 0)
  if (tokens === 0) throw new TapestryError('DATA_INVALID', 'there is no held-out text to score')
  const mean = counted.reduce((sum, { loss }) => sum + loss, 0) / tokens
  if (counted.length === 1) return { mean, standardError: mean, tokens }
  const squares = counted.reduce((sum, { loss, count }) => sum + (loss - mean * count) ** 2, 0)
  const standardError = Math.sqrt((counted.length / (counted.length - 1)) * squares) / tokens
  return { mean, standardError, tokens }
}

/** A score, and the mean loss of each sequence that it is made of, nats per token. */
export type DetailedScore = { readonly score: Score; readonly sequences: readonly number[] }

/** Scores weights with the score graph of a plan. */
export type Scorer = {
  /** The mean over the held-out text of a corpus, up to the plan's number of sequences. */
  score(weights: Tensors, corpus: Corpus): Promise<DetailedScore>
  close(): Promise<void>
}

/** @param graph the score graph of `spec` */
export async function openScorer(spec: PlanSpec, graph: Uint8Array): Promise<Scorer> {
  const session = await openSession(graph)
  const { batchSize, sequenceLength } = spec.training
  const losses = async (weights: Tensors, sequences: readonly Sequence[]): Promise<SequenceLoss[]> => {
    const found: SequenceLoss[] = []
    for (let start = 0; start < sequences.length; start += batchSize) {
      const batch = sequences.slice(start, start + batchSize)
      found.push(...(await runBatch(session, weights, batch, filledUp(batch, batchSize, sequenceLength))))
    }
    return found
  }
  const score: Scorer['score'] = async (weights, corpus) => {
    const sequences = scoringSequences(corpus.heldOut, sequenceLength, spec.evaluation.maxSequences)
    const found = await losses(weights, sequences)
    const score = summarise(found)
    const means = found.flatMap(({ loss, count }) => (count > 0 ? [loss / count] : []))
    if (Number.isFinite(score.mean)) return { score, sequences: means }
    throw new TapestryError('ENGINE_FAILED', `the loss on ${corpus.language} is not a number`)
  }
  return { score, close: () => session.release() }
}

async function runBatch(
  session: InferenceSession,
  weights: Tensors,
  sequences: readonly Sequence[],
  batch: readonly Sequence[],
): Promise<SequenceLoss[]> {
  const outputs = await session.run({ ...weights, ...batchTensors(batch) })
  const [losses, counts] = [floatsOf(outputs, 'losses'), floatsOf(outputs, 'counts')]
  return sequences.map((_, row) => ({ loss: losses[row] ?? Number.NaN, count: counts[row] ?? 0 }))
}

/** The graph has a fixed batch: rows of padding, which count nothing, fill the last one. */
function filledUp(sequences: readonly Sequence[], batchSize: number, length: number): Sequence[] {
  const padding = new Array<number>(length).fill(PAD_ID)
  const empty = Array.from({ length: batchSize - sequences.length }, () => ({ ids: padding, labels: padding }))
  return [...sequences, ...empty]
}
