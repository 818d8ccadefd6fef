import { z } from 'zod'
import { defineCommand, flag, setting } from '../command.ts'
import { defaultCoordinatorDirectory } from '../directories.ts'
import { duration } from '../input.ts'
import { createLog } from '../log.ts'
import { formatBytes } from '../terminal.ts'

export const coordinatorGc = defineCommand({
  path: 'coordinator gc',
  summary: 'delete stored bytes that nothing refers to',
  options: [
    setting('--dir <directory>', "the coordinator's directory"),
    setting('--older-than <duration>', 'leave alone what was stored or asked for since (24h)'),
    flag('--dry-run', 'say what would be deleted, and delete nothing'),
  ],
  input: z.object({ dir: z.string().optional(), olderThan: duration.optional(), dryRun: z.boolean().default(false) }),
  notes:
    'A running coordinator does the same every hour. Environment: DATABASE_URL, as for the coordinator. Nothing that ' +
    'a contribution, a checkpoint, a round or an upload refers to is ever deleted.',
  async run({ dir, olderThan, dryRun }, { env, clock, output }) {
    // Loaded here because most commands end sooner than a database client loads.
    const [{ openCoordinator }, { collectGarbage, GRACE_MS }] = await Promise.all([
      import('../coordinator-parts.ts'),
      import('../../jobs/collect-garbage.ts'),
    ])
    const log = createLog({ flag: undefined, env, quiet: output.quiet, stderr: output.stderr })
    const options = { dir: dir ?? defaultCoordinatorDirectory(env), flags: {}, env, clock, log }
    const { context, abandon } = await openCoordinator(options)
    try {
      const { found, deleted } = await collectGarbage(context, { graceMs: olderThan ?? GRACE_MS, dryRun })
      const { blobs, bytes } = dryRun ? found : deleted
      const text = `${dryRun ? 'would delete' : 'deleted'} ${blobs} blobs, ${formatBytes(bytes)}`
      return { json: { dryRun, found, deleted }, text }
    } finally {
      await abandon()
    }
  },
})
