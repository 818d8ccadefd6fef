import { z } from 'zod'
import { defineCommand, setting } from '../command.ts'
import { defaultNodeDirectory } from '../directories.ts'
import { diagnose, report } from '../doctor/diagnosis.ts'

export const doctorNode = defineCommand({
  path: 'doctor node',
  summary: 'look at a node: disk, keys, text, certificate, clock and the way to its coordinator',
  options: [setting('--dir <directory>', 'where the node keeps its keys and rounds')],
  input: z.object({ dir: z.string().optional() }),
  notes: 'Changes nothing. Exits with 1 when a check fails; warnings are no failures.',
  async run({ dir }, { env, clock, output }) {
    const { nodeExaminations } = await import('../doctor/node.ts')
    return report(await diagnose(nodeExaminations(dir ?? defaultNodeDirectory(env), clock)), output)
  },
})
