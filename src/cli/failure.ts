import { CommanderError } from 'commander'
import { type TapestryError, toTapestryError } from '../core/error.ts'
import { EXIT, exitCodeOf } from './exit-code.ts'
import { printable } from './terminal.ts'

/** A failure as the caller sees it. */
export type Failure = {
  readonly exitCode: number
  readonly code: string
  readonly message: string
  readonly hint?: string | undefined
  /** What the operator finds it by in the coordinator's log. */
  readonly requestId?: string | undefined
}

/** Commander reports what it has printed itself (help, the version) as errors with exit code 0. */
export function failureOf(thrown: unknown): Failure {
  if (thrown instanceof CommanderError) return usageFailure(thrown)
  const error = toTapestryError(thrown)
  const { code, hint, requestId } = error
  return { exitCode: exitCodeOf(code), code, message: messageOf(error), hint, requestId }
}

function usageFailure(error: CommanderError): Failure {
  const message = error.code === 'commander.help' ? 'a command is missing' : error.message.replace(/^error: /, '')
  const exitCode = error.exitCode === 0 ? EXIT.ok : EXIT.usage
  return { exitCode, code: 'INVALID_ARGUMENT', message, hint: 'tapestry --help lists the commands and their options' }
}

/** On the user's own machine the cause of an internal error is shown: there is nobody to hide it from. */
function messageOf(error: TapestryError): string {
  const cause = error.code === 'INTERNAL' && error.cause instanceof Error ? `: ${error.cause.message}` : ''
  return `${error.message}${cause}`
}

/** The failure as text for stderr. Server messages pass through here, so control characters are taken out. */
export function renderFailure(failure: Failure, json: boolean): string {
  if (json) {
    const { code, message, hint, requestId } = failure
    return `${JSON.stringify({ error: { code, message, hint, requestId } })}\n`
  }
  const request = failure.requestId === undefined ? '' : `request: ${printable(failure.requestId)}\n`
  const hint = failure.hint === undefined ? '' : `hint: ${printable(failure.hint)}\n`
  return `error: ${failure.message.split('\n').map(printable).join('\n')}\n${hint}${request}`
}
