import { SpanKind as Kind, ROOT_CONTEXT, SpanStatusCode, TraceFlags, trace } from '@opentelemetry/api'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http'
import { resourceFromAttributes } from '@opentelemetry/resources'
import { BasicTracerProvider, BatchSpanProcessor } from '@opentelemetry/sdk-trace-base'
import type { TraceParent } from './request-id.ts'
import type { SpanKind, Tracer } from './tracer.ts'

const KINDS = { server: Kind.SERVER, internal: Kind.INTERNAL } as const satisfies Record<SpanKind, Kind>
/** A collector that does not answer must not hold up a shutdown. */
const CLOSE_MS = 1_500

/** Loaded by {@link openTracer} alone, and only for an operator who asked for traces. */
export function openTelemetryTracer(options: {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly service: string
  readonly version: string
}): Tracer {
  const name = options.env['OTEL_SERVICE_NAME'] || options.service
  const provider = new BasicTracerProvider({
    resource: resourceFromAttributes({ 'service.name': name, 'service.version': options.version }),
    spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter({ url: tracesUrl(options.env) }))],
  })
  const tracer = provider.getTracer('tapestry', options.version)
  return {
    begin(span, kind, attributes, parent) {
      const started = tracer.startSpan(span, { kind: KINDS[kind], attributes }, contextOf(parent))
      return {
        end(code) {
          started.setAttribute('tapestry.code', code)
          if (code !== 'OK') started.setStatus({ code: SpanStatusCode.ERROR, message: code })
          started.end()
        },
      }
    },
    async close() {
      const late = new Promise<void>((resolve) => setTimeout(resolve, CLOSE_MS).unref())
      await Promise.race([provider.shutdown().catch(() => {}), late])
    },
  }
}

/** The specification appends the signal's path to the general endpoint, and to the particular one nothing. */
function tracesUrl(env: Readonly<Record<string, string | undefined>>): string {
  const own = env['OTEL_EXPORTER_OTLP_TRACES_ENDPOINT']
  if (own) return own
  return `${(env['OTEL_EXPORTER_OTLP_ENDPOINT'] ?? '').replace(/\/+$/, '')}/v1/traces`
}

function contextOf(parent: TraceParent | undefined) {
  if (parent === undefined) return ROOT_CONTEXT
  return trace.setSpanContext(ROOT_CONTEXT, { ...parent, traceFlags: TraceFlags.SAMPLED, isRemote: true })
}
