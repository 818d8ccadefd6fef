import { PRESETS } from '../src/plan/presets.ts'
import type { PlanSpec } from '../src/plan/spec.ts'

/** The smallest model that is still a Llama: its updates have some kB, so what is measured is the control plane. */
export const SCALE_SPEC: PlanSpec = {
  ...PRESETS.tiny,
  architecture: {
    ...PRESETS.tiny.architecture,
    hiddenSize: 8,
    intermediateSize: 16,
    layers: 1,
    heads: 2,
    kvHeads: 2,
    contextLength: 32,
  },
  training: { ...PRESETS.tiny.training, batchSize: 1, sequenceLength: 16 },
}
