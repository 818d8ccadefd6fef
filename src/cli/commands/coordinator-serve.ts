import { z } from 'zod'
import { defineCommand, flag, setting } from '../command.ts'
import { defaultCoordinatorDirectory } from '../directories.ts'
import { addresses, wholeNumber } from '../input.ts'
import { createLog } from '../log.ts'
import { readSettingsFile } from '../settings.ts'
import { aborted } from '../signals.ts'

export const coordinatorServe = defineCommand({
  path: 'coordinator serve',
  summary: 'serve a federation until a signal ends it',
  options: [
    setting('--dir <directory>', 'where the coordinator keeps everything'),
    flag('--host <address>', 'address to listen on (127.0.0.1)'),
    flag('--port <port>', 'port for gRPC and HTTPS, 0 for a free one (7400)'),
    flag(
      '--public-address <host:port,...>',
      'what invitations carry and nodes connect to: all replicas, this one first',
    ),
    flag('--storage <file:DIR|s3://BUCKET>', 'where blobs are kept, one for all replicas (blobs in the directory)'),
    flag('--hostname <name...>', 'further names and addresses for the server certificate'),
    flag('--workers <n>', 'most worker processes to start when there is work, 0 when they run elsewhere (1)'),
    flag('--evaluation-data <directory>', 'folder of <BCP-47>.txt public evaluation sets'),
    flag('--max-artifact-bytes <n>', 'largest single upload'),
    flag(
      '--metrics-address <host:port>',
      'where /metrics, /healthz and /readyz are, or none (127.0.0.1, the port after)',
    ),
    flag('--grace-ms <n>', 'how long calls may go on after a signal (10000)'),
    flag('--reflection', 'serve gRPC reflection'),
    flag('--log-level <level>', 'fatal, error, warn, info, debug, trace or silent (info)'),
    flag('--config <file>', 'settings as JSON or YAML, weaker than flags and environment'),
  ],
  input: z.object({
    dir: z.string().optional(),
    host: z.string().optional(),
    port: wholeNumber(0, 65535).optional(),
    publicAddress: addresses.optional(),
    storage: z.string().optional(),
    hostname: z.array(z.string()).optional(),
    workers: wholeNumber(0, 64).optional(),
    evaluationData: z.string().optional(),
    maxArtifactBytes: wholeNumber(1, Number.MAX_SAFE_INTEGER).optional(),
    metricsAddress: z.string().optional(),
    graceMs: wholeNumber(0, 600_000).optional(),
    reflection: z.boolean().optional(),
    logLevel: z.string().optional(),
    config: z.string().optional(),
  }),
  notes:
    'Environment: DATABASE_URL (an external Postgres), REDIS_URL, and TAPESTRY_HOST, TAPESTRY_PORT,\n' +
    'TAPESTRY_PUBLIC_ADDRESS, TAPESTRY_STORAGE, TAPESTRY_WORKERS, TAPESTRY_EVALUATION_DATA, TAPESTRY_METRICS_ADDRESS,\n' +
    'TAPESTRY_GRACE_MS, TAPESTRY_LOG_LEVEL. OTEL_EXPORTER_OTLP_ENDPOINT turns traces on; nothing is sent otherwise.',
  async run({ dir, config, hostname, ...flags }, { env, clock, output, stopSignal }) {
    // Listened for from the beginning: a start that is interrupted must still stop its database.
    const stopping = aborted(stopSignal())
    const file = config === undefined ? {} : await readSettingsFile(config)
    const log = createLog({ flag: flags.logLevel, env, quiet: output.quiet, stderr: output.stderr })
    const root = dir ?? defaultCoordinatorDirectory(env)
    // Loaded here because most commands end sooner than a database client loads.
    const { startCoordinator } = await import('../start-coordinator.ts')
    const running = await startCoordinator({
      dir: root,
      flags: { ...flags, hostnames: hostname },
      file,
      env,
      clock,
      log,
    })
    const { address: at, federation, metrics } = running
    const watched = metrics === undefined ? '' : `\nmetrics at http://${metrics}/metrics`
    output.result({
      json: { address: at, federation, directory: root, metrics: metrics ?? null },
      text: `federation ${federation}\nserving at ${at}${watched}`,
    })
    await stopping
    output.note('stopping ...')
    await running.stop()
    return undefined
  },
})
