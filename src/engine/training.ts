import type { InferenceSession } from 'onnxruntime-node'
import { TapestryError } from '../core/error.ts'
import { elementCount, type TensorSpec } from '../model/tensor.ts'
import { EOS_ID } from '../model/tokenizer.ts'
import { parameterSpecs } from '../plan/parameters.ts'
import type { AdamwSpec, PlanSpec } from '../plan/spec.ts'
import { baseName, firstMoment, LEFT_OUT, nextName, secondMoment } from '../plan/train-graph.ts'
import type { Corpus } from './dataset.ts'
import { countedTokens, type Sequence } from './sequences.ts'
import { batchTensors, floatsOf, floatTensor, openSession, type Tensors } from './session.ts'

export type StepReport = { readonly step: number; readonly loss: number }

/**
 * Trains `weights` in place for the plan's local steps.
 *
 * The updated weights and moments are written over their inputs, which saves three copies of the
 * model: the train graph promises that nothing reads an input after its successor is written.
 * @param nextSequence draws one training sequence of the plan's length
 * @param constants inputs that are the same in every step: see {@link competingVocabulary} and {@link proximalBase}
 * @throws TapestryError ENGINE_FAILED when the loss stops being a number.
 */
export async function trainSteps(
  spec: PlanSpec,
  graph: Uint8Array,
  weights: Tensors,
  nextSequence: () => Sequence,
  constants: Tensors,
  onStep: (report: StepReport) => void,
): Promise<void> {
  const session = await openSession(graph)
  const state: Tensors = { ...weights, ...zeroMoments(parameterSpecs(spec)) }
  const { batchSize, localSteps, optimizer } = spec.training
  const schedule = scheduleOf(optimizer)
  for (let step = 1; step <= localSteps; step++) {
    const sequences = Array.from({ length: batchSize }, nextSequence)
    const loss = await runStep(session, state, { ...batchTensors(sequences), ...constants, ...schedule.next().value })
    if (!Number.isFinite(loss)) throw new TapestryError('ENGINE_FAILED', `the loss is not a number at step ${step}`)
    onStep({ step, loss })
  }
  await session.release()
}

/** The weights that a proximal term holds the others to, as the train graph wants them; nothing without such a term. */
export function proximalBase(spec: PlanSpec, base: ReadonlyMap<string, Float32Array>): Tensors {
  if (spec.training.proximal === undefined) return {}
  const tensors = parameterSpecs(spec).map(({ name, shape }) => {
    return [baseName(name), floatTensor(base.get(name) ?? new Float32Array(), shape)]
  })
  return Object.fromEntries(tensors)
}

/**
 * Which tokens compete in this node's softmax, as the train graph wants it; nothing when all do. A token's share is
 * the mean over the corpora of its share of their training tokens, because training draws them equally.
 */
export function competingVocabulary({ architecture, training }: PlanSpec, corpora: readonly Corpus[]): Tensors {
  if (training.vocabulary === 'all') return {}
  const shares = new Float64Array(architecture.vocabSize)
  for (const { train } of corpora) {
    const unit = 1 / (countedTokens(train) * corpora.length)
    for (const { bytes } of train) {
      for (const byte of bytes) shares[byte] = (shares[byte] ?? 0) + unit
      shares[EOS_ID] = (shares[EOS_ID] ?? 0) + unit
    }
  }
  const { minShare } = training.vocabulary
  const bias = Float32Array.from(shares, (share) => (share < minShare ? LEFT_OUT : 0))
  return { vocabulary: floatTensor(bias, [1, bias.length]) }
}

/** @returns the mean loss of the batch before the step, in nats per token. */
async function runStep(session: InferenceSession, state: Tensors, inputs: Tensors): Promise<number> {
  const fetches = Object.fromEntries(Object.entries(state).map(([name, tensor]) => [nextName(name), tensor]))
  const outputs = await session.run({ ...state, ...inputs }, { loss: null, ...fetches })
  return floatsOf(outputs, 'loss')[0] ?? Number.NaN
}

function zeroMoments(specs: readonly TensorSpec[]): Tensors {
  const zeros = (shape: readonly number[]) => floatTensor(new Float32Array(elementCount(shape)), shape)
  return Object.fromEntries(
    specs.flatMap(({ name, shape }) => [
      [firstMoment(name), zeros(shape)],
      [secondMoment(name), zeros(shape)],
    ]),
  )
}

/** The scalars of each step; powers by repeated products, since Math.pow may differ between engines. */
function* scheduleOf(optimizer: AdamwSpec): Generator<Tensors, never> {
  const { beta1, beta2, learningRate, warmupSteps } = optimizer
  const scalar = (value: number) => floatTensor(Float32Array.of(value), [])
  let [power1, power2] = [1, 1]
  for (let step = 1; ; step++) {
    power1 *= beta1
    power2 *= beta2
    yield {
      learningRate: scalar(learningRate * Math.min(1, step / Math.max(warmupSteps, 1))),
      correction1: scalar(1 - power1),
      correction2: scalar(1 - power2),
    }
  }
}
