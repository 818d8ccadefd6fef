import { z } from 'zod'
import { TapestryError } from '../../core/error.ts'
import { changeNodeKeys } from '../../participant/key-change.ts'
import { openNodeDirectory } from '../../participant/node-directory.ts'
import { defineCommand, flag, setting } from '../command.ts'
import { defaultNodeDirectory } from '../directories.ts'
import { readNamedFile } from '../named-file.ts'

export const nodeRotateKey = defineCommand({
  path: 'node rotate-key',
  summary: "replace the node's key; what the old one signed from then on is refused",
  options: [
    setting('--dir <directory>', 'where the node keeps its keys and rounds'),
    flag('--recovery-key <file>', 'decide by the recovery key: the node key is lost or stolen'),
    flag('--replace-recovery-key', 'with --recovery-key: make a new recovery key too'),
  ],
  input: z.object({
    dir: z.string().optional(),
    recoveryKey: z.string().optional(),
    replaceRecoveryKey: z.boolean().default(false),
  }),
  notes:
    'Stop the node first. If this is cut off at any point, run it again: it finishes what it began.\n' +
    "A node's first recovery key is keys/recovery.key in its directory: move it to a place that is offline.",
  async run({ dir, recoveryKey: file, replaceRecoveryKey: replaceRecovery }, { env, clock }) {
    if (replaceRecovery && file === undefined) {
      throw new TapestryError('INVALID_ARGUMENT', '--replace-recovery-key needs --recovery-key')
    }
    const root = dir ?? defaultNodeDirectory(env)
    const directory = await openNodeDirectory(root)
    const recoveryKey = file === undefined ? undefined : await readNamedFile(file)
    const change = await changeNodeKeys(directory, clock, { recoveryKey, replaceRecovery })
    const also = change.recoveryReplaced ? `\nthe new recovery key is ${root}/keys/recovery.key: move it offline` : ''
    return { json: change, text: `the node's key was changed (change ${change.number})${also}` }
  },
})
