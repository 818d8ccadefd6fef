import { z } from 'zod'
import { TapestryError } from './core/error.ts'

/** 64 GiB: one bf16 vector of a 30B model; larger models arrive in shards. */
const DEFAULT_MAX_ARTIFACT_BYTES = 64 * 2 ** 30
/** Long enough for a pause of the whole machine, short enough that a dead worker's job is soon taken over. */
const DEFAULT_LEASE_MS = 60_000
/** Long enough to wake an operator, who makes room on a disk and asks again. */
const DEFAULT_HOLD_MS = 3_600_000
/** Stop taking uploads before the disk is full: the database shares it. */
const DEFAULT_MIN_FREE_BYTES = 512 * 2 ** 20
/** Within what orchestrators allow between asking a process to stop and killing it. */
const DEFAULT_GRACE_MS = 10_000

/** Some hundred megabytes when all of them watch. */
const DEFAULT_MAX_CONNECTIONS = 2048
/** Two of the largest artifacts. */
const DEFAULT_MAX_OPEN_BYTES = 2 * DEFAULT_MAX_ARTIFACT_BYTES
/** All that may be open, and as much again for a node that was refused and sends another. */
const DEFAULT_MAX_ROUND_BYTES = 2 * DEFAULT_MAX_OPEN_BYTES
/** A modem's; who moves less holds a connection for nothing. */
const DEFAULT_MIN_RATE = 1024
/** Stop merging later than taking uploads: what was accepted should still become a model. */
const DEFAULT_MIN_MERGE_BYTES = 256 * 2 ** 20

const SCHEMA = z.strictObject({
  /** Address to listen on. */
  host: z.string().min(1).default('127.0.0.1'),
  /** One TLS port for gRPC and HTTPS; 0 picks a free one. */
  port: z.int().min(0).max(65535).default(7400),
  /** What invitations carry and nodes connect to: `host:port`, of several replicas with commas between them. */
  publicAddress: z.string().min(1).optional(),
  /** Further names and IP addresses for the server certificate. */
  hostnames: z.array(z.string().min(1)).default([]),
  /** External Postgres; the embedded one when absent. */
  databaseUrl: z.string().min(1).optional(),
  /** Where blobs are kept, `file:<directory>` or `s3://<bucket>/<prefix>?...` (docs/OPERATIONS.md); in the coordinator's own directory when absent. */
  storage: z
    .string()
    .regex(/^(file:|s3:\/\/)./, 'expected file:<directory> or s3://<bucket>/<prefix>')
    .optional(),
  /** Redis for waking workers; Postgres does it when absent. */
  redisUrl: z.string().min(1).optional(),
  /** Most worker processes that `serve` starts, when there is work; 0 when workers run elsewhere. */
  workers: z.int().min(0).max(64).default(1),
  /** Folder of `<BCP-47>.txt` public evaluation sets; none when absent. */
  evaluationData: z.string().min(1).optional(),
  /** Largest single artifact in bytes. */
  maxArtifactBytes: z.int().min(1).default(DEFAULT_MAX_ARTIFACT_BYTES),
  /** Connections at a time; more are closed at once. A node that watches has one, and each is a file descriptor. */
  maxConnections: z.int().min(1).max(1_000_000).default(DEFAULT_MAX_CONNECTIONS),
  /** Announced and unfinished uploads that one node may have. */
  maxOpenUploads: z.int().min(1).max(1000).default(4),
  /** Free bytes below which uploads are refused. */
  minFreeBytes: z.int().min(0).default(DEFAULT_MIN_FREE_BYTES),
  /** Free bytes below which no work begins; lower than `minFreeBytes`, so that rounds end where uploads have ended. */
  minMergeBytes: z.int().min(0).default(DEFAULT_MIN_MERGE_BYTES),
  /** Announced and unfinished bytes that one node may have. */
  maxOpenBytes: z.int().min(1).default(DEFAULT_MAX_OPEN_BYTES),
  /** Bytes that one node may announce for one round, finished or not; a round holds at most its roster times as much. */
  maxRoundBytes: z.int().min(1).default(DEFAULT_MAX_ROUND_BYTES),
  /** Slower senders and receivers are cut, bytes a second over a minute; 0: never. */
  minBytesPerSecond: z.int().min(0).default(DEFAULT_MIN_RATE),
  /** After this long without a sign of life a worker's job is another worker's, in milliseconds. */
  leaseMs: z.int().min(1000).max(3_600_000).default(DEFAULT_LEASE_MS),
  /** `host:port` of /metrics, /healthz and /readyz, or `none`. When absent: on this machine only, the port after `port`. */
  metricsAddress: z
    .string()
    .regex(/^(none|.+:\d{1,5})$/, 'expected host:port or none')
    .optional(),
  /** How long calls and uploads in hand may go on after the server was told to stop, in milliseconds. */
  graceMs: z.int().min(0).max(600_000).default(DEFAULT_GRACE_MS),
  /** How long a round waits for an operator after its merge or decision was abandoned, in milliseconds. */
  holdMs: z
    .int()
    .min(0)
    .max(7 * 24 * 3_600_000)
    .default(DEFAULT_HOLD_MS),
  /** Serve gRPC reflection. */
  reflection: z.boolean().default(false),
  logLevel: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']).default('info'),
})

/** Everything the coordinator can be told, validated. */
export type ServerConfig = z.infer<typeof SCHEMA>

/** Flags and the file use the schema's names; the environment uses these. */
const ENVIRONMENT = {
  TAPESTRY_HOST: 'host',
  TAPESTRY_PORT: 'port',
  TAPESTRY_PUBLIC_ADDRESS: 'publicAddress',
  TAPESTRY_STORAGE: 'storage',
  DATABASE_URL: 'databaseUrl',
  REDIS_URL: 'redisUrl',
  TAPESTRY_WORKERS: 'workers',
  TAPESTRY_EVALUATION_DATA: 'evaluationData',
  TAPESTRY_MAX_ARTIFACT_BYTES: 'maxArtifactBytes',
  TAPESTRY_MAX_CONNECTIONS: 'maxConnections',
  TAPESTRY_METRICS_ADDRESS: 'metricsAddress',
  TAPESTRY_GRACE_MS: 'graceMs',
  TAPESTRY_LOG_LEVEL: 'logLevel',
} as const satisfies Record<string, keyof ServerConfig>

const NUMBERS: ReadonlySet<string> = new Set(['port', 'workers', 'maxArtifactBytes', 'maxConnections', 'graceMs'])

/**
 * Merges the sources, strongest first: flags, environment, file, defaults.
 * @throws TapestryError INVALID_ARGUMENT naming every setting that does not fit.
 */
export function serverConfig(sources: {
  readonly flags: Readonly<Record<string, unknown>>
  readonly env: Readonly<Record<string, string | undefined>>
  readonly file: Readonly<Record<string, unknown>>
}): ServerConfig {
  const fromEnv: Record<string, unknown> = {}
  for (const [variable, setting] of Object.entries(ENVIRONMENT)) {
    const text = sources.env[variable]
    if (text !== undefined && text !== '') fromEnv[setting] = NUMBERS.has(setting) ? Number(text) : text
  }
  const given = Object.fromEntries(Object.entries(sources.flags).filter(([, value]) => value !== undefined))
  const parsed = SCHEMA.safeParse({ ...sources.file, ...fromEnv, ...given })
  if (parsed.success) return parsed.data
  const problems = parsed.error.issues.map((issue) => `${issue.path.join('.') || 'settings'}: ${issue.message}`)
  throw new TapestryError('INVALID_ARGUMENT', `the configuration does not fit: ${problems.join('; ')}`)
}
