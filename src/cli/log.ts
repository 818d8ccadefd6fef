import { type Logger, pino } from 'pino'
import { logScope } from '../telemetry/log-scope.ts'

const LEVELS: ReadonlySet<string> = new Set(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'])

/**
 * The log of a service: JSON lines on stderr, each with the request or job that it is about. A level that does not exist is refused later, with
 * the rest of the configuration; until then the default does.
 */
export function createLog(options: {
  readonly flag: string | undefined
  readonly env: Readonly<Record<string, string | undefined>>
  readonly quiet: boolean
  readonly stderr: { write(text: string): unknown }
}): Logger {
  const wanted = options.flag ?? options.env['TAPESTRY_LOG_LEVEL'] ?? (options.quiet ? 'error' : 'info')
  const level = LEVELS.has(wanted) ? wanted : 'info'
  return pino({ level, base: { pid: process.pid }, mixin: logScope }, { write: (line) => options.stderr.write(line) })
}
