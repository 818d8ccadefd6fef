import type { RequestListener } from 'node:http'
import { hostname } from 'node:os'
import type { Context } from '../context.ts'
import type { FederationId } from '../core/ids.ts'
import { privateKeyFromPem } from '../core/signature.ts'
import { issueServerCertificate } from '../identity/certificate-authority.ts'
import type { WakeQueue } from '../jobs/driver.ts'
import { startSweeper } from '../jobs/sweep.ts'
import { ensureAddresses } from '../participant/address.ts'
import { takeLock } from '../participant/directory-lock.ts'
import { rpcContext } from '../rpc/adapter.ts'
import { SERVICES } from '../rpc/auth.ts'
import { createGrpcServer } from '../rpc/grpc-server.ts'
import { addHealth } from '../rpc/health.ts'
import { type Listener, listen } from '../rpc/listener.ts'
import { addReflection } from '../rpc/reflection.ts'
import { startRoundFeed } from '../rpc/round-feed.ts'
import { addServices } from '../rpc/services.ts'
import { PublicLog } from '../store/public-log.ts'
import { artifactHandler, artifactTakeover } from '../transfer/artifact-handler.ts'
import { isLogPath, logHandler } from '../transfer/log-handler.ts'
import { writeAtomically } from './coordinator-directory.ts'
import { type CoordinatorWatch, monitorCoordinator, watchCoordinator } from './coordinator-monitor.ts'
import { type CoordinatorOptions, type CoordinatorParts, openCoordinator } from './coordinator-parts.ts'
import { startWorkerProcesses } from './worker-processes.ts'

/** Well within the server certificate's life, and within the 24.8 days that a timer can wait. */
const CERTIFICATE_RENEWAL_MS = 7 * 24 * 3_600_000

export type RunningCoordinator = {
  /** `host:port` that nodes connect to. */
  readonly address: string
  readonly federation: FederationId
  /** `host:port` of /metrics, /healthz and /readyz. */
  readonly metrics: string | undefined
  /** Ends in order: nothing new, what is in hand until `graceMs` (as configured) have passed, then everything. */
  stop(graceMs?: number): Promise<void>
}

/**
 * Starts a coordinator: database, blobs, gRPC and HTTPS on one port, the sweeper, and its workers.
 * @throws TapestryError as {@link openCoordinator}, PORT_IN_USE, and FAILED_PRECONDITION when another server uses the
 *   embedded database of this directory.
 */
export async function startCoordinator(options: CoordinatorOptions): Promise<RunningCoordinator> {
  const parts = await openCoordinator(options)
  const undo = [parts.abandon]
  try {
    return await start(parts, options, (close) => undo.unshift(close))
  } catch (error) {
    // What stays open would keep the process, and its database, from ending.
    for (const close of undo) await close().catch(() => undefined)
    throw error
  }
}

async function start(
  parts: CoordinatorParts,
  options: CoordinatorOptions,
  onFailure: (close: () => Promise<void>) => void,
): Promise<RunningCoordinator> {
  const { context, paths } = parts
  const unlock = await lockEmbedded(parts)
  onFailure(unlock)
  const closing = new AbortController()
  const queue = await openQueue(parts)
  onFailure(async () => queue?.close())
  const feed = await startRoundFeed(context.store, context.log)
  onFailure(() => feed.stop())
  const watch = await watchCoordinator(options.env)
  const front = await openFront(parts, feed, closing.signal, watch)
  onFailure(() => front.close(0))
  const address = publicAddress(parts, front.listener.port)
  front.announce(address)
  const serving = { port: front.listener.port, certificate: front.certificate }
  const monitor = await monitorCoordinator(parts, watch, front.log, serving, front.health.setServing)
  onFailure(() => monitor.close())
  await writeAtomically(paths.address, `${address}\n`)
  const workers = startWorkerProcesses(context.config.workers, { ...workerOptions(options, context), log: context.log })
  const wake = (job: string) => {
    workers.wake()
    queue?.wake(job)
  }
  const sweeper = startSweeper(context, wake, { signal: closing.signal })
  // Where a round moves a merge is near, and a worker takes a second to start.
  await context.store.listen(() => workers.wake())
  context.log.info({ address, federation: context.federation, metrics: monitor.address }, 'coordinator is serving')
  return {
    address,
    federation: context.federation,
    metrics: monitor.address,
    async stop(graceMs = context.config.graceMs) {
      monitor.drain()
      closing.abort()
      await front.close(graceMs)
      await workers.stop(graceMs)
      await Promise.all([sweeper.stopped, feed.stop(), queue?.close(), watch.tracer.close()])
      await monitor.close()
      await context.store.close()
      await parts.stopDatabase()
      await unlock()
    },
  }
}

/** For workers elsewhere. Those that this process starts are woken by it, and neither side loads a queue for that. */
async function openQueue({ context: { config, log }, databaseUrl }: CoordinatorParts): Promise<WakeQueue | undefined> {
  if (config.workers > 0 && config.redisUrl === undefined) return undefined
  const { openWakeQueue } = await import('../jobs/driver.ts')
  return openWakeQueue({ redisUrl: config.redisUrl, databaseUrl }, log)
}

/** Servers that share an external database are replicas; of an embedded one, the first to stop would stop it for both. */
async function lockEmbedded({ context, paths }: CoordinatorParts): Promise<() => Promise<void>> {
  return context.config.databaseUrl === undefined ? takeLock(paths.lock) : async () => {}
}

/** The port with everything behind it. */
async function openFront(
  parts: CoordinatorParts,
  feed: Awaited<ReturnType<typeof startRoundFeed>>,
  closing: AbortSignal,
  watch: CoordinatorWatch,
) {
  const { context, secrets } = parts
  const log = new PublicLog(context.store, parts.logSigner)
  let address = ''
  const grpc = createGrpcServer()
  addServices(grpc.server, {
    context,
    rpc: rpcContext(context, closing, watch.calls),
    feed,
    issuer: { authority: secrets.authority },
    signer: { key: privateKeyFromPem(secrets.releaseKey) },
    log,
    address: () => address,
  })
  const health = addHealth(grpc.server, Object.keys(SERVICES))
  if (context.config.reflection) addReflection(grpc.server, Object.values(SERVICES))
  let certificate = ''
  const certify = async () => {
    const issued = await issueServerCertificate(secrets.authority, hostnames(parts), context.clock.now())
    certificate = issued.certificate
    return issued
  }
  const listener = await listen({
    host: context.config.host,
    port: context.config.port,
    certificate: await certify(),
    authority: secrets.authority.certificate,
    grpc,
    http: watch.transfers(httpHandler(context, log)),
    upgrade: artifactTakeover(context, watch.transfer),
    maxConnections: context.config.maxConnections,
    log: context.log,
  })
  const renewal = renewPeriodically(listener, certify, parts)
  return {
    listener,
    health,
    log,
    /** PEM of the certificate that new connections are shown. */
    certificate: () => certificate,
    announce(name: string) {
      address = name
    },
    async close(graceMs: number) {
      clearInterval(renewal)
      await listener.close(graceMs)
    },
  }
}

function httpHandler(context: Context, log: PublicLog): RequestListener {
  const artifacts = artifactHandler(context)
  const files = logHandler(context, log)
  return (request, response) => (isLogPath(request.url) ? files : artifacts)(request, response)
}

function renewPeriodically(
  listener: Listener,
  certify: () => ReturnType<typeof issueServerCertificate>,
  parts: CoordinatorParts,
) {
  const timer = setInterval(() => {
    certify().then(
      (certificate) => listener.replaceCertificate(certificate),
      (error) => parts.context.log.error({ err: error }, 'the server certificate could not be renewed'),
    )
  }, CERTIFICATE_RENEWAL_MS)
  timer.unref()
  return timer
}

/** A worker reads the directory's settings and the environment: what only a flag said is in neither. */
function workerOptions({ dir, env }: CoordinatorOptions, { config: { storage } }: Context) {
  return { dir, env: storage === undefined ? env : { ...env, TAPESTRY_STORAGE: storage } }
}

function hostnames({ context }: CoordinatorParts): string[] {
  const { publicAddress: address, hostnames: more, host } = context.config
  const named = address === undefined ? [] : ensureAddresses(address).map(({ host: name }) => name)
  const bound = isWildcard(host) ? [] : [host]
  return [...new Set(['localhost', '127.0.0.1', '::1', hostname(), ...named, ...bound, ...more])]
}

function publicAddress({ context }: CoordinatorParts, port: number): string {
  const { publicAddress: address, hostnames: names, host } = context.config
  if (address !== undefined) return address
  const name = isWildcard(host) ? (names[0] ?? hostname()) : host
  return name.includes(':') ? `[${name}]:${port}` : `${name}:${port}`
}

function isWildcard(host: string): boolean {
  return host === '0.0.0.0' || host === '::'
}
