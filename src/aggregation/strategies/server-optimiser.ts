import { ensureWithin, invalid } from './contribution.ts'

/** What an optimiser remembers between rounds: plain vectors, empty before the first. */
export type OptimiserState = { readonly momentum: Float32Array; readonly variance: Float32Array }

/** The change to apply to the model, and what to remember. */
export type OptimiserStep = { readonly delta: Float32Array; readonly state: OptimiserState }

/**
 * Takes the combined delta of a round (the negative of the "pseudo-gradient") and returns the change
 * of the model. Pure: the state is a value. @throws TapestryError INVALID_ARGUMENT for a state of another length
 */
export type ServerOptimiser = (delta: Float32Array, state: OptimiserState) => OptimiserStep

export const NO_STATE: OptimiserState = { momentum: new Float32Array(0), variance: new Float32Array(0) }

/** The model moves by `rate * delta`: at rate 1, plain FedAvg. McMahan et al. 2017 (arXiv:1602.05629), algorithm 1. */
export function gradientDescent(rate: number): ServerOptimiser {
  ensureRate(rate)
  return (delta) => ({ delta: delta.map((d) => rate * d), state: NO_STATE })
}

/** FedAvgM: m = beta m + delta; the model moves by rate * m. Hsu et al. 2019 (arXiv:1909.06335), section 4.3. */
export function heavyBall(rate: number, beta: number): ServerOptimiser {
  ensureRate(rate)
  ensureDecay('beta', beta)
  return (delta, state) => {
    const momentum = vector(state.momentum, delta.length, 0).map((m, j) => beta * m + delta[j]!)
    return { delta: momentum.map((m) => rate * m), state: { ...NO_STATE, momentum } }
  }
}

/**
 * The outer optimiser of DiLoCo: m = beta m + delta; the model moves by rate * (delta + beta m).
 * Douillard et al. 2023 (arXiv:2311.08105), algorithm 1 with Nesterov momentum as in PyTorch's SGD
 * (Sutskever et al. 2013); the paper uses rate 0.7 and beta 0.9.
 */
export function nesterov(rate: number, beta: number): ServerOptimiser {
  ensureRate(rate)
  ensureDecay('beta', beta)
  return (delta, state) => {
    const momentum = vector(state.momentum, delta.length, 0).map((m, j) => beta * m + delta[j]!)
    const step = momentum.map((m, j) => rate * (delta[j]! + beta * m))
    return { delta: step, state: { ...NO_STATE, momentum } }
  }
}

/** Parameters of the adaptive optimisers, in the paper's letters: eta, beta_1, beta_2, tau and v_-1. */
export type Adaptive = {
  readonly rate: number
  readonly beta1: number
  /** Not used by Adagrad. */
  readonly beta2: number
  /** Above 0; how far the steps adapt: the smaller, the more. */
  readonly tau: number
  /** The paper asks for at least tau^2; several implementations begin at 0. */
  readonly initialVariance: number
}

/** v = v + d^2. Reddi et al. 2021 (arXiv:2003.00295), algorithm 2, as are the next two. */
export const fedAdagrad = (parameters: Adaptive): ServerOptimiser => adaptive(parameters, (v, square) => v + square)

/** v = beta2 v + (1 - beta2) d^2. */
export const fedAdam = (parameters: Adaptive): ServerOptimiser =>
  adaptive(parameters, (v, square) => parameters.beta2 * v + (1 - parameters.beta2) * square)

/** v = v - (1 - beta2) d^2 sign(v - d^2). */
export const fedYogi = (parameters: Adaptive): ServerOptimiser =>
  adaptive(parameters, (v, square) => v - (1 - parameters.beta2) * square * Math.sign(v - square))

/** m = beta1 m + (1 - beta1) d; the model moves by rate * m / (sqrt(v) + tau). No correction of bias, as in the paper. */
function adaptive(parameters: Adaptive, next: (v: number, square: number) => number): ServerOptimiser {
  const { rate, beta1, beta2, tau, initialVariance } = parameters
  ensureRate(rate)
  ensureDecay('beta1', beta1)
  ensureDecay('beta2', beta2)
  ensureWithin('tau', tau, Number.MIN_VALUE, Number.MAX_VALUE)
  ensureWithin('initialVariance', initialVariance, 0, Number.MAX_VALUE)
  return (delta, state) => {
    const momentum = vector(state.momentum, delta.length, 0).map((m, j) => beta1 * m + (1 - beta1) * delta[j]!)
    const before = vector(state.variance, delta.length, initialVariance)
    const variance = before.map((v, j) => next(v, delta[j]! * delta[j]!))
    const step = momentum.map((m, j) => (rate * m) / (Math.sqrt(variance[j]!) + tau))
    return { delta: step, state: { momentum, variance } }
  }
}

function vector(kept: Float32Array, length: number, initial: number): Float32Array {
  if (kept.length === 0) return new Float32Array(length).fill(initial)
  if (kept.length !== length) throw invalid(`the optimiser remembers ${kept.length} elements, the delta has ${length}`)
  return kept
}

function ensureRate(rate: number): void {
  ensureWithin('rate', rate, Number.MIN_VALUE, Number.MAX_VALUE)
}

function ensureDecay(name: string, value: number): void {
  ensureWithin(name, value, 0, 1)
  if (value === 1) throw invalid(`${name} must be below 1`)
}
