import type { PlanSpec } from '../plan/spec.ts'
import type { Progress } from './messages.ts'
import type { StepReport } from './training.ts'

/** A few messages a second are enough for a person, and cost nothing beside a step. */
const INTERVAL_MS = 250

/** Remembers the first and last loss, and passes progress on a few times a second and at the last step. */
export class ProgressMeter {
  lossFirst = Number.NaN
  lossLast = Number.NaN
  readonly #spec: PlanSpec
  readonly #send: (progress: Progress) => void
  readonly #started = performance.now()
  #sent = this.#started

  constructor(spec: PlanSpec, send: (progress: Progress) => void) {
    this.#spec = spec
    this.#send = send
  }

  report({ step, loss }: StepReport): void {
    if (step === 1) this.lossFirst = loss
    this.lossLast = loss
    const { localSteps: steps, batchSize, sequenceLength } = this.#spec.training
    const now = performance.now()
    if (step !== steps && now - this.#sent < INTERVAL_MS) return
    this.#sent = now
    const tokens = step * batchSize * sequenceLength
    const tokensPerSecond = Math.round((1000 * tokens) / Math.max(now - this.#started, 1))
    this.#send({ step, steps, loss, tokensPerSecond })
  }
}
