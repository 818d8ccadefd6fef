import { CommanderError } from 'commander'
import { describe, expect, it } from 'vitest'
import { ERROR_CODES, TapestryError } from '../core/error.ts'
import { exitCodeOf, exitCodeOfSignal } from './exit-code.ts'
import { failureOf, renderFailure } from './failure.ts'

describe('exitCodeOf', () => {
  it('maps every code to a failure', () => {
    for (const code of ERROR_CODES) expect(exitCodeOf(code), code).toBeGreaterThan(0)
  })

  it.each([
    ['INVALID_ARGUMENT', 2],
    ['NOT_FOUND', 3],
    ['UNAUTHENTICATED', 4],
    ['INVITATION_USED', 4],
    ['VERIFICATION_FAILED', 5],
    ['WRONG_FEDERATION', 5],
    ['UNAVAILABLE', 6],
    ['DEADLINE_EXCEEDED', 6],
    ['ENGINE_FAILED', 1],
  ] as const)('%s is %i', (code, exit) => expect(exitCodeOf(code)).toBe(exit))

  it('follows the shell for signals', () => {
    expect(exitCodeOfSignal('SIGINT')).toBe(130)
    expect(exitCodeOfSignal('SIGTERM')).toBe(143)
  })
})

describe('failureOf', () => {
  it('calls what commander finds a usage error', () => {
    expect(failureOf(new CommanderError(1, 'commander.unknownOption', "error: unknown option '--x'"))).toMatchObject({
      exitCode: 2,
      message: "unknown option '--x'",
    })
    expect(failureOf(new CommanderError(0, 'commander.helpDisplayed', '(outputHelp)')).exitCode).toBe(0)
  })

  it('shows the cause of an internal error', () => {
    expect(failureOf(new Error('disk on fire'))).toMatchObject({ exitCode: 1, code: 'INTERNAL' })
    expect(failureOf(new Error('disk on fire')).message).toContain('disk on fire')
  })
})

describe('renderFailure', () => {
  const failure = failureOf(new TapestryError('NOT_FOUND', 'no \u001b[31mrun', { hint: 'make one' }))

  it('is one object with --json', () => {
    const parsed = JSON.parse(renderFailure(failure, true))
    expect(parsed).toEqual({ error: { code: 'NOT_FOUND', message: 'no \u001b[31mrun', hint: 'make one' } })
  })

  it('names the request that the coordinator refused, for whoever asks its operator', () => {
    const refused = failureOf(new TapestryError('INTERNAL', 'internal error', { requestId: 'mine-7' }))
    expect(JSON.parse(renderFailure(refused, true)).error).toMatchObject({ requestId: 'mine-7' })
    expect(renderFailure(refused, false)).toBe('error: internal error\nrequest: mine-7\n')
  })

  it('is safe text without', () => {
    expect(renderFailure(failure, false)).toBe('error: no \ufffd[31mrun\nhint: make one\n')
  })
})
