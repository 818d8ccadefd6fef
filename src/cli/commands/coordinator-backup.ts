import { z } from 'zod'
import { byteProgress } from '../byte-progress.ts'
import { defineCommand, flag, setting } from '../command.ts'
import { defaultCoordinatorDirectory } from '../directories.ts'
import { formatBytes } from '../terminal.ts'

export const coordinatorBackup = defineCommand({
  path: 'coordinator backup',
  summary: 'copy a coordinator, running or not, as it is at one moment',
  arguments: [{ name: '<target>', description: 'a new directory, or that of a backup that did not finish' }],
  options: [
    setting('--dir <directory>', "the coordinator's directory"),
    flag('--with-keys', 'also copy the keys: whoever holds them is the federation'),
    flag('--copy', 'copy blobs that are on the same disk instead of linking them'),
  ],
  input: z.object({
    target: z.string().min(1),
    dir: z.string().optional(),
    withKeys: z.boolean().default(false),
    copy: z.boolean().default(false),
  }),
  notes:
    'Interrupted, it is repeated with the same target and goes on with the blobs. A backup is restored by\n' +
    'tapestry coordinator restore. Environment: DATABASE_URL, as for the coordinator.',
  async run({ target, dir, withKeys, copy }, { env, clock, output }) {
    // Loaded here because most commands end sooner than a database client loads.
    const { backUp } = await import('../backup.ts')
    const progress = byteProgress(output, 'copying', () => clock.now())
    const manifest = await backUp({
      dir: dir ?? defaultCoordinatorDirectory(env),
      to: target,
      withKeys,
      apart: copy,
      env,
      now: clock.now(),
      onProgress: progress.report,
    }).finally(progress.close)
    const { federation, database, blobs, keys } = manifest
    const rows = database.tables.reduce((sum, table) => sum + table.rows, 0)
    const bytes = blobs.reduce((sum, blob) => sum + blob.bytes, 0)
    if (keys.length === 0) output.note('without keys: keep those of the coordinator somewhere else')
    return {
      json: { federation, directory: target, rows, blobs: blobs.length, bytes, keys: keys.length > 0 },
      text: `federation ${federation}\n${rows} rows and ${blobs.length} blobs (${formatBytes(bytes)}) in ${target}`,
    }
  },
})
