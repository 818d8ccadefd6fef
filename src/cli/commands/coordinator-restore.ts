import { z } from 'zod'
import { byteProgress } from '../byte-progress.ts'
import { defineCommand, flag, setting } from '../command.ts'
import { defaultCoordinatorDirectory } from '../directories.ts'
import { formatTime } from '../terminal.ts'

export const coordinatorRestore = defineCommand({
  path: 'coordinator restore',
  summary: 'make a coordinator from a backup, in an empty directory and an empty database',
  arguments: [{ name: '<backup>', description: 'the directory of a finished backup' }],
  options: [
    setting('--dir <directory>', "the coordinator's new directory"),
    flag('--keys <directory>', 'where the keys were kept, for a backup without them'),
    flag('--check', 'only verify the backup'),
  ],
  input: z.object({
    backup: z.string().min(1),
    dir: z.string().optional(),
    keys: z.string().optional(),
    check: z.boolean().default(false),
  }),
  notes:
    'Everything is verified before anything is written; exits with 5 when a bit differs. Nodes that have seen more of\n' +
    'the log than the backup holds will stop: docs/OPERATIONS.md. Environment: DATABASE_URL, as for the coordinator.',
  async run({ backup, dir, keys, check }, { env, clock, output }) {
    const root = dir ?? defaultCoordinatorDirectory(env)
    const progress = byteProgress(output, 'reading', () => clock.now())
    const { restore, verifyBackup } = await import('../restore.ts')
    const { readBackupManifest } = await import('../backup-manifest.ts')
    const work = async () => {
      if (!check) return restore({ from: backup, dir: root, keys, env, onProgress: progress.report })
      const manifest = await readBackupManifest(backup)
      await verifyBackup(backup, manifest, progress.report)
      return manifest
    }
    const { federation, createdMs, blobs, version } = await work().finally(progress.close)
    const made = `made ${formatTime(createdMs)} by version ${version}`
    const json = { federation, createdMs, version, blobs: blobs.length }
    if (check) return { json: { ...json, verified: true }, text: `the backup of ${federation}, ${made}, is whole` }
    return {
      json: { ...json, directory: root },
      text: `federation ${federation} as of the backup ${made}\nstart it: tapestry coordinator serve --dir ${root}`,
    }
  },
})
