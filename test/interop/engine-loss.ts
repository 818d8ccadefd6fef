import { batchTensors, floatsOf, openSession, readWeights } from '../../src/engine/session.ts'
import { BOS_ID, EOS_ID, encodeText } from '../../src/model/tokenizer.ts'
import type { WeightFiles } from '../../src/model/weight-index.ts'
import { parameterSpecs } from '../../src/plan/parameters.ts'
import { scoreGraph } from '../../src/plan/score-graph.ts'
import type { PlanSpec } from '../../src/plan/spec.ts'

/**
 * The mean next-token loss of one document (begin, its bytes, end) in nats per token, by the score
 * graph of a plan with weights: what {@link transformersLoss} gives for it.
 */
export async function engineLoss(spec: PlanSpec, weights: WeightFiles, text: string): Promise<number> {
  const tokens = [BOS_ID, ...encodeText(text), EOS_ID]
  const sequenceLength = tokens.length - 1
  const training = { ...spec.training, batchSize: 1, sequenceLength }
  const session = await openSession(scoreGraph({ ...spec, training }))
  const tensors = await readWeights(weights, parameterSpecs(spec))
  const batch = batchTensors([{ ids: tokens.slice(0, -1), labels: tokens.slice(1) }])
  const outputs = await session.run({ ...tensors, ...batch })
  const [loss, count] = [floatsOf(outputs, 'losses')[0], floatsOf(outputs, 'counts')[0]]
  await session.release()
  if (loss === undefined || count !== sequenceLength) throw new Error(`the score graph counted ${count} tokens`)
  return loss / count
}
