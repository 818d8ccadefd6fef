import { z } from 'zod'
import { ensureNamed, namedText, parseNamedText } from './named-parameters.ts'

const positive = z.number().min(Number.MIN_VALUE)
const decay = z.number().min(0).lt(1)
const variance = z.number().min(0)
const nodes = z.int().min(0).max(100_000)
/** Of the squared distance to the base: beyond it, f32 training only follows the term. */
const proximal = positive.max(1000)
/** A force above 1 would carry the model past what pulls it. */
const force = positive.max(1)

function strategy<Name extends string, Parameters extends z.core.$ZodLooseShape>(name: Name, parameters: Parameters) {
  return z.strictObject({ name: z.literal(name), parameters: z.strictObject(parameters) })
}

/** FedAdam and FedYogi: Reddi et al. 2021 (arXiv:2003.00295) advise tau = 1e-3 and an initial variance of tau^2. */
const adaptive = {
  rate: positive.default(0.01),
  beta1: decay.default(0.9),
  beta2: decay.default(0.99),
  tau: positive.default(1e-3),
  initialVariance: variance.default(1e-6),
}

/**
 * How a run merges, as it is asked for, stored and released: a name and numbers. Parameters that are
 * left out take the defaults of the papers; those without one must be given. Formulas and their
 * sources stand beside the arithmetic, in aggregation.
 */
export const strategySchema = z.discriminatedUnion('name', [
  strategy('mean', {}),
  /** `limit`: the largest norm that a delta keeps. */
  strategy('clipped-mean', { limit: positive }),
  strategy('median', {}),
  /** `trim`: values left out at each end, coordinate by coordinate. */
  strategy('trimmed-mean', { trim: nodes }),
  /** `byzantine`: how many contributions may be hostile. */
  strategy('krum', { byzantine: nodes }),
  strategy('multi-krum', { byzantine: nodes, chosen: nodes.min(1) }),
  /** `smoothing`: distances below it count as equal. */
  strategy('geometric-median', { smoothing: positive.default(1e-6) }),
  strategy('fedavgm', { rate: positive.default(1), beta: decay.default(0.9) }),
  strategy('fedadam', adaptive),
  strategy('fedyogi', adaptive),
  strategy('fedadagrad', {
    rate: adaptive.rate,
    beta1: decay.default(0),
    tau: adaptive.tau,
    initialVariance: adaptive.initialVariance,
  }),
  strategy('diloco', { rate: positive.default(0.7), beta: decay.default(0.9) }),
  /** `mu`: how much nodes are held to the base while they train; merged as the mean. */
  strategy('fedprox', { mu: proximal }),
  /** `alpha`: how much of their distance a node's own model and the run's model move towards each other in a round. */
  strategy('easgd', { alpha: force }),
])

export type Strategy = z.output<typeof strategySchema>
export type StrategyName = Strategy['name']

export const STRATEGY_NAMES: readonly StrategyName[] = strategySchema.options.map(({ shape }) => shape.name.value)

/** The mean with the weights that policy decides. */
export const MEAN: Strategy = { name: 'mean', parameters: {} }

/**
 * Strategies that compare every contribution with every other: the matrix of their dot products
 * grows with the square of their number, and at this number still takes only 16 MiB.
 */
const MOST_COMPARED = 2048

/**
 * Checks a name and its parameters, and fills in what is left out.
 * @throws TapestryError INVALID_ARGUMENT naming what is unknown, missing or out of range.
 */
export function ensureStrategy(name: string, parameters: Readonly<Record<string, number>>): Strategy {
  return ensureNamed('strategy', strategySchema, STRATEGY_NAMES, { name, parameters })
}

/**
 * Fewest contributions that the strategy is sound with. Krum: n >= 2f + 3 (Blanchard et al. 2017,
 * proposition 1); with more chosen than n - f, a hostile one would always be among them.
 */
export function fewestContributions({ name, parameters }: Strategy): number {
  switch (name) {
    case 'trimmed-mean':
      return 2 * parameters.trim + 1
    case 'krum':
      return 2 * parameters.byzantine + 3
    case 'multi-krum':
      return Math.max(2 * parameters.byzantine + 3, parameters.byzantine + parameters.chosen)
    default:
      return 1
  }
}

/**
 * Most contributions that the strategy takes. Elastic averaging: beyond 1 / alpha of them the model would
 * overshoot their mean (beta = p alpha <= 1: Zhang et al. 2015, section 3).
 */
export function mostContributions({ name, parameters }: Strategy): number {
  if (name === 'easgd') return Math.floor(1 / parameters.alpha)
  const compares = name === 'krum' || name === 'multi-krum' || name === 'geometric-median'
  return compares ? MOST_COMPARED : Number.POSITIVE_INFINITY
}

/**
 * Whether the weights that policy decides change the result. Medians, trimmed means and Krum ignore
 * them, as their papers do: there every contribution that is merged counts alike.
 */
export function usesWeights({ name }: Strategy): boolean {
  return name !== 'median' && name !== 'trimmed-mean' && name !== 'krum' && name !== 'multi-krum'
}

/** The strategy in one word, as the command line takes it: `krum:byzantine=1`. */
export function strategyText(strategy: Strategy): string {
  return namedText(strategy)
}

/** Reads what {@link strategyText} writes; parameters may be left out. @throws TapestryError INVALID_ARGUMENT */
export function parseStrategyText(text: string): Strategy {
  const { name, parameters } = parseNamedText(text)
  return ensureStrategy(name, parameters)
}
