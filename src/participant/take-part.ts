import type { RoundKey } from '../core/ids.ts'
import { objectionTo, type Refusal } from '../policy/node-policy.ts'
import { type Admission, admissionTo } from './admission.ts'
import type { NodeContext } from './node-context.ts'
import { logRefusal } from './policy-file.ts'
import type { RoundView } from './round-view.ts'

/**
 * Decides by the node's own policy, and by what its datasets allow, whether it takes part in a round and with which text.
 * @returns undefined when it does not, which has then been told and logged
 * @throws as `admissionTo`
 */
export async function takePart(
  node: NodeContext,
  { key, plan, peerReviews }: RoundView,
  signal: AbortSignal,
): Promise<Admission | undefined> {
  const admission = await admissionTo(node, key.run, signal)
  const { federation } = node.client.membership
  const invitation = { federation, run: key.run, plan, demands: admission.demands, peerReviews }
  const refusal = objectionTo(node.policy.rules, invitation) ?? wantOfData(admission)
  if (refusal === undefined) return admission
  await decline(node, key, refusal)
  return undefined
}

/** Tells which datasets a round does without. */
export function tellExcluded(node: NodeContext, key: RoundKey, { advice }: Admission): void {
  for (const { id, rejection } of advice) {
    if (rejection !== undefined) node.emit({ type: 'dataset-excluded', key, dataset: id, ...rejection })
  }
}

/** Tells and logs what the node does not do. */
export async function decline(node: NodeContext, key: RoundKey, refusal: Refusal): Promise<void> {
  await logRefusal(node.directory, key, refusal, node.clock)
  node.emit({ type: 'declined', key, ...refusal })
}

function wantOfData({ sources, advice }: Admission): Refusal | undefined {
  const reasons = advice.flatMap(({ rejection }) => rejection ?? [])
  if (sources.length > 0 || reasons.length === 0) return undefined
  return { rule: 'records', detail: reasons.map(({ reason, detail }) => `${reason}: ${detail}`).join('; ') }
}
