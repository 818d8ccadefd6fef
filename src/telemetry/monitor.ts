import { createServer, type Server, type ServerResponse } from 'node:http'
import type { Logger } from 'pino'
import { TapestryError } from '../core/error.ts'
import type { Readiness } from './readiness.ts'

export type MonitorOptions = {
  readonly host: string
  /** 0 picks a free one. */
  readonly port: number
  /** The text of /metrics. */
  readonly metrics: () => Promise<string>
  readonly readiness: () => Promise<Readiness>
  readonly log: Pick<Logger, 'warn'>
}

export type Monitor = { readonly host: string; readonly port: number; close(): Promise<void> }

const METRICS_TYPE = 'text/plain; version=0.0.4; charset=utf-8'
const MOST_CONNECTIONS = 64
const REQUEST_MS = 10_000

/**
 * Serves whoever watches this process, over plain HTTP and apart from the federation's port: `/metrics` (Prometheus),
 * `/healthz` (the process lives) and `/readyz` (it can do its work; 503 when it cannot, with what is wrong).
 * @throws TapestryError PORT_IN_USE; INVALID_ARGUMENT for an address that is not this machine's.
 */
export async function openMonitor(options: MonitorOptions): Promise<Monitor> {
  const server = createServer((request, response) => {
    answer(request.url ?? '', request.method ?? '', response, options).catch((error) => {
      options.log.warn({ err: error }, 'a watcher could not be answered')
      send(response, 500, 'application/json', '{"error":"internal error"}\n')
    })
  })
  server.maxConnections = MOST_CONNECTIONS
  server.requestTimeout = REQUEST_MS
  const port = await bind(server, options)
  return {
    host: options.host,
    port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

async function answer(url: string, method: string, response: ServerResponse, options: MonitorOptions): Promise<void> {
  if (method !== 'GET' && method !== 'HEAD') return send(response, 405, 'text/plain', 'only GET\n')
  switch (url.split('?', 1)[0]) {
    case '/healthz':
      return send(response, 200, 'application/json', '{"status":"alive"}\n')
    case '/readyz': {
      const readiness = await options.readiness()
      return send(response, readiness.ready ? 200 : 503, 'application/json', `${JSON.stringify(readyz(readiness))}\n`)
    }
    case '/metrics':
      return send(response, 200, METRICS_TYPE, await options.metrics())
    default:
      return send(response, 404, 'text/plain', '/metrics, /healthz or /readyz\n')
  }
}

function readyz({ ready, findings }: Readiness) {
  const checks = findings.map(({ check, problem, degrading }) => [
    check,
    problem === undefined ? { ok: true } : { ok: false, problem, ...(degrading && { degrading }) },
  ])
  const well = findings.every(({ problem }) => problem === undefined) ? 'ready' : 'degraded'
  return { status: ready ? well : 'not-ready', checks: Object.fromEntries(checks) }
}

function send(response: ServerResponse, status: number, type: string, body: string): void {
  if (response.headersSent) return void response.destroy()
  response.writeHead(status, {
    'Content-Type': type,
    'Content-Length': Buffer.byteLength(body),
    'Cache-Control': 'no-store',
    'X-Content-Type-Options': 'nosniff',
  })
  response.end(body)
}

function bind(server: Server, { host, port }: MonitorOptions): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => reject(bindError(cause, `${host}:${port}`)))
    server.listen(port, host, () => {
      const at = server.address()
      resolve(typeof at === 'object' && at !== null ? at.port : port)
    })
  })
}

function bindError(cause: NodeJS.ErrnoException, where: string): TapestryError {
  if (cause.code === 'EADDRINUSE') {
    const hint = 'choose another with --metrics-address (port 0 picks a free one), or none'
    return new TapestryError('PORT_IN_USE', `${where} is in use`, { cause, hint })
  }
  return new TapestryError('INVALID_ARGUMENT', `cannot listen on ${where}`, { cause })
}
