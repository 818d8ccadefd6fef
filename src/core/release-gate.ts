import { z } from 'zod'
import { TapestryError } from './error.ts'

/**
 * What nodes tell about their held-out text. `paired`: besides the means, how the loss of each
 * held-out sequence changed, coarsened and sorted (model/paired-evidence.ts). `means`: nothing more
 * than means and standard errors, which makes the noise band wider.
 */
export const EVIDENCE = ['paired', 'means'] as const
export type Evidence = (typeof EVIDENCE)[number]

/** How a run's candidates are judged. `minTokens`: a language with fewer held-out tokens counts as unmeasured. */
export const gateSchema = z.strictObject({
  evidence: z.enum(EVIDENCE),
  minTokens: z.int().min(1).max(1_000_000_000),
})

export type ReleaseGate = z.output<typeof gateSchema>

/** A few short paragraphs: below, a mean of losses says more about the choice of text than about the model. */
export const DEFAULT_GATE: ReleaseGate = { evidence: 'paired', minTokens: 500 }

/** Checks what an operator asks for. @throws TapestryError INVALID_ARGUMENT naming what is out of range. */
export function ensureGate(asked: unknown): ReleaseGate {
  const parsed = gateSchema.safeParse(asked)
  if (parsed.success) return parsed.data
  const problems = parsed.error.issues.map(({ path, message }) => `${path.join('.')} ${message}`.trim())
  throw new TapestryError('INVALID_ARGUMENT', `release gate: ${problems.join('; ')}`.slice(0, 400), {
    cause: parsed.error,
  })
}
