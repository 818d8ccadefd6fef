import { TapestryError } from '../core/error.ts'
import { type Strategy, strategyText } from '../core/strategy.ts'
import { type PlanSpec, parsePlanSpec } from '../plan/spec.ts'

/**
 * The spec with what its strategy asks of nodes: what they train is in the plan, whose digest they check, and
 * what the run and its checkpoints say of it cannot be another thing.
 * @throws TapestryError INVALID_ARGUMENT when the spec already asks for something else
 */
export function specForStrategy(spec: PlanSpec, strategy: Strategy): PlanSpec {
  const asked = nodePart(strategy)
  const { proximal = asked.proximal, elastic = asked.elastic } = spec.training
  if (proximal?.mu !== asked.proximal?.mu || elastic?.alpha !== asked.elastic?.alpha) {
    const detail = `the plan asks nodes for something else than the strategy ${strategyText(strategy)}`
    throw new TapestryError('INVALID_ARGUMENT', detail, {
      hint: 'leave "proximal" and "elastic" out of the plan: fedprox and easgd set them',
    })
  }
  return parsePlanSpec({ ...spec, training: { ...spec.training, ...asked } })
}

/** What of a strategy nodes execute while they train; nothing for most. */
function nodePart(strategy: Strategy): Pick<PlanSpec['training'], 'proximal' | 'elastic'> {
  if (strategy.name === 'fedprox') return { proximal: { mu: strategy.parameters.mu } }
  if (strategy.name === 'easgd') return { elastic: { alpha: strategy.parameters.alpha } }
  return {}
}
