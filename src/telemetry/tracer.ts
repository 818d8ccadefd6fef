import type { TraceParent } from './request-id.ts'

export type SpanAttributes = Readonly<Record<string, string | number>>
export type SpanKind = 'server' | 'internal'

/** Something that takes time. Ends once; a code other than OK marks it as failed. */
export type Span = { end(code: string): void }

/** Where spans go: nowhere unless the operator has named a collector. */
export type Tracer = {
  begin(name: string, kind: SpanKind, attributes: SpanAttributes, parent?: TraceParent): Span
  /** Sends what is left and ends. Never throws: a collector that is down must not hold up a shutdown. */
  close(): Promise<void>
}

const NOTHING: Span = { end() {} }

/** The tracer of an installation that sends nothing. */
export const SILENT_TRACER: Tracer = { begin: () => NOTHING, close: async () => {} }

type Environment = Readonly<Record<string, string | undefined>>

/**
 * Traces go to OTEL_EXPORTER_OTLP_ENDPOINT (or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT), and when neither is set nothing is
 * loaded, opened or sent.
 * @param service what the process is, such as `tapestry-coordinator`; OTEL_SERVICE_NAME is stronger.
 */
export async function openTracer(env: Environment, service: string, version: string): Promise<Tracer> {
  if (!env['OTEL_EXPORTER_OTLP_ENDPOINT'] && !env['OTEL_EXPORTER_OTLP_TRACES_ENDPOINT']) return SILENT_TRACER
  const { openTelemetryTracer } = await import('./open-telemetry.ts')
  return openTelemetryTracer({ env, service, version })
}
