import { z } from 'zod'
import { defineCommand, flag, setting } from '../command.ts'
import { defaultCoordinatorDirectory } from '../directories.ts'
import { createLog } from '../log.ts'
import { aborted, closed } from '../signals.ts'

export const worker = defineCommand({
  path: 'worker',
  summary: "do a coordinator's merges and decisions until a signal ends it",
  options: [
    setting('--dir <directory>', "the coordinator's directory"),
    flag('--check', 'only check that the database can be reached; exits with 6 when it cannot'),
    flag('--metrics-address <host:port>', "where this worker's /metrics, /healthz and /readyz are (nowhere)"),
    flag('--log-level <level>', 'fatal, error, warn, info, debug, trace or silent (info)'),
  ],
  input: z.object({
    dir: z.string().optional(),
    check: z.boolean().default(false),
    metricsAddress: z
      .string()
      .regex(/^.+:\d{1,5}$/, 'expected host:port')
      .optional(),
    logLevel: z.string().optional(),
  }),
  notes: 'Environment: DATABASE_URL, REDIS_URL and TAPESTRY_LOG_LEVEL, as for the coordinator.',
  async run({ dir, check, logLevel, metricsAddress }, { env, clock, output, stopSignal }) {
    const parent = env['TAPESTRY_PARENT_PIPE'] === '1' ? process.stdin : undefined
    const stopping = [aborted(stopSignal()), ...(parent ? [closed(parent)] : [])]
    const log = createLog({ flag: logLevel, env, quiet: output.quiet, stderr: output.stderr })
    const root = dir ?? defaultCoordinatorDirectory(env)
    // Loaded here because most commands end sooner than a database client loads.
    const { checkWorker, startWorkerProcess } = await import('../start-worker.ts')
    const options = { dir: root, flags: { logLevel }, env, clock, log }
    if (check) {
      await checkWorker(options)
      return { json: { status: 'ready' }, text: 'ready' }
    }
    const running = await startWorkerProcess(options, { parent, watched: metricsAddress })
    if (running.metrics !== undefined) output.note(`metrics at http://${running.metrics}/metrics`)
    await Promise.race([...stopping, running.stopped])
    await running.stop()
    return undefined
  },
})
