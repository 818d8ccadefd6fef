import { z } from 'zod'
import { TapestryError } from '../../core/error.ts'
import { leaveFederation } from '../../participant/leave.ts'
import { openNodeDirectory } from '../../participant/node-directory.ts'
import { defineCommand, flag, setting } from '../command.ts'
import { defaultNodeDirectory } from '../directories.ts'

export const nodeLeave = defineCommand({
  path: 'node leave',
  summary: "leave the federation, for good and without anybody's permission; the data are and stay here",
  options: [
    setting('--dir <directory>', 'where the node keeps its keys and rounds'),
    flag('--revoke <mode>', 'take everything back that was contributed: rewind or remerge (docs/REVOCATION.md)'),
    flag('--yes', 'do it: without this nothing is changed'),
  ],
  input: z.object({
    dir: z.string().optional(),
    revoke: z.enum(['rewind', 'remerge']).optional(),
    yes: z.boolean().default(false),
  }),
  notes:
    'What was contributed stays in what was released, unless --revoke. Works without a network and with an ended certificate: the node\n' +
    'takes part in nothing from now on, and tells the coordinator as soon as it can ("node run" or this command again).',
  async run({ dir, revoke, yes }, { env, output }) {
    const directory = await openNodeDirectory(dir ?? defaultNodeDirectory(env))
    if (!yes) throw new TapestryError('INVALID_ARGUMENT', 'leaving cannot be taken back', { hint: 'add --yes' })
    const told = await leaveFederation(directory, revoke ?? 'stay')
    if (!told) output.note('no connection: run this again, or "node run", to tell the coordinator')
    const how = told ? 'the coordinator knows, and refuses its certificate' : 'the coordinator does not know yet'
    return { json: { left: true, told }, text: `this node has left: ${how}` }
  },
})
