import { z } from 'zod'
import { CODEC_NAMES } from '../../core/codec.ts'
import { TapestryError } from '../../core/error.ts'
import { defineCommand, flag } from '../command.ts'
import { runDemo } from '../demo/demo.ts'
import { SOVEREIGNTY } from '../demo/sovereignty.ts'
import { codec, languageTags, wholeNumber } from '../input.ts'

/** Beyond this a laptop only swaps. */
const MAX_NODES = 64

export const demo = defineCommand({
  path: 'demo',
  summary: 'run a whole federation on this machine: coordinator, nodes, rounds, a released model',
  options: [
    flag('--nodes <n>', 'participant nodes, each a process of its own (4)'),
    flag('--rounds <n>', 'rounds to run (3)'),
    flag('--languages <tags>', 'comma-separated BCP-47 tags, such as vi,sw,fr,eu'),
    flag('--data <directory>', 'your own text: a folder of <BCP-47>.txt or <BCP-47>/*.txt'),
    flag('--codec <name:parameter=n,...>', `how updates travel: ${CODEC_NAMES.join(', ')} (f32)`),
    flag('--keep <directory>', 'keep everything here: coordinator, nodes, logs, model'),
    flag('--scenario <name>', 'sovereignty: a share-alike record, a poisoned node, a consent withdrawn').choices([
      'sovereignty',
    ]),
  ],
  input: z.object({
    nodes: wholeNumber(1, MAX_NODES).optional(),
    rounds: wholeNumber(1, 1000).optional(),
    languages: languageTags.optional(),
    data: z.string().optional(),
    codec: codec.optional(),
    keep: z.string().optional(),
    scenario: z.enum(['sovereignty']).optional(),
  }),
  notes: 'The text that comes with it is the Universal Declaration of Human Rights.',
  run({ nodes, rounds, scenario, ...choices }, io) {
    if (scenario === undefined) return runDemo({ ...choices, nodes: nodes ?? 4, rounds: rounds ?? 3 }, io)
    const { languages, data } = choices
    if ([nodes, rounds, languages, data].every((choice) => choice === undefined)) {
      return runDemo({ ...choices, ...SOVEREIGNTY, scenario }, io)
    }
    throw new TapestryError('INVALID_ARGUMENT', '--scenario says itself who takes part, with what, and how long')
  },
})
