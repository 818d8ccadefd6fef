import { z } from 'zod'
import { ensureJurisdiction, type Jurisdiction } from './jurisdiction.ts'

/** What may be done with data. `evaluation`: as a benchmark; the held-out part of training text is training's own. */
export const USES = ['pretraining', 'finetuning', 'evaluation', 'distillation'] as const
export type Use = (typeof USES)[number]

/** How far a model reaches that was trained on data: from everybody's base to one institution's own. */
export const STAGES = ['global', 'regional', 'national', 'entity'] as const
export type Stage = (typeof STAGES)[number]

/** What a run asks of the dataset records behind a contribution. */
export type Demands = {
  /** One SPDX licence id or LicenseRef: what the run's checkpoints are released under. */
  readonly licence: string
  /** What the run does with the data; at least one. */
  readonly uses: readonly Use[]
  /** How far its checkpoints reach. */
  readonly stage: Stage
  /** Where the coordinator works; null when it does not say. */
  readonly coordinatedIn: Jurisdiction | null
}

/** What a run asks that says nothing else: an open base for everybody. */
export const DEFAULT_DEMANDS: Demands = {
  licence: 'Apache-2.0',
  uses: ['pretraining'],
  stage: 'global',
  coordinatedIn: null,
}

/** The form that demands are stored and sent in. Whether the licence is a known one is for src/policy to say. */
export const demandsSchema = z.strictObject({
  licence: z.string().min(1).max(100),
  uses: z.array(z.enum(USES)).min(1).max(USES.length).readonly(),
  stage: z.enum(STAGES),
  coordinatedIn: z
    .string()
    .transform((text): Jurisdiction => ensureJurisdiction(text))
    .nullable(),
})
