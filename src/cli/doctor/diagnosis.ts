import { TapestryError, toTapestryError } from '../../core/error.ts'
import type { Output, Result } from '../output.ts'
import { printable, table } from '../terminal.ts'

/** What a check found. `remedy` says what to do about it, and is absent where nothing need be done. */
export type Diagnosis = {
  /** `skip`: not checked, because what it needs has failed. */
  readonly state: 'ok' | 'warn' | 'fail' | 'skip'
  readonly detail: string
  readonly remedy?: string | undefined
}

/** One thing that is looked at. What it throws is a failure, and its hint the remedy. */
export type Examination = {
  readonly check: string
  /** Another, earlier, without which this one would only fail for the same reason. */
  readonly needs?: string
  examine(): Promise<Diagnosis>
}

export type Finding = Diagnosis & { readonly check: string }

export const ok = (detail: string): Diagnosis => ({ state: 'ok', detail })
export const warn = (detail: string, remedy: string): Diagnosis => ({ state: 'warn', detail, remedy })
export const fail = (detail: string, remedy: string): Diagnosis => ({ state: 'fail', detail, remedy })

/** Examines one after the other: what is wrong first often explains what is wrong later. Never rejects. */
export async function diagnose(examinations: readonly Examination[]): Promise<readonly Finding[]> {
  const findings: Finding[] = []
  /** What is to be mended first, for each check that did not come out. */
  const causes = new Map<string, string>()
  for (const { check, needs, examine } of examinations) {
    const cause = needs === undefined ? undefined : causes.get(needs)
    const found = cause === undefined ? await examine().catch(failureOf) : skipped(cause)
    if (found.state === 'fail' || cause !== undefined) causes.set(check, cause ?? check)
    findings.push({ check, ...found })
  }
  return findings
}

function skipped(cause: string): Diagnosis {
  return { state: 'skip', detail: `not checked: first mend "${cause}"` }
}

function failureOf(thrown: unknown): Diagnosis {
  const { code, message, hint, cause } = toTapestryError(thrown)
  const detail = code === 'INTERNAL' && cause instanceof Error ? cause.message : message
  return { state: 'fail', detail: `${code}: ${detail}`, remedy: hint }
}

/**
 * Shows the findings.
 * @throws TapestryError FAILED_PRECONDITION, after they were shown, when a check has failed: the command ends with 1.
 */
export function report(findings: readonly Finding[], output: Output): undefined {
  output.result(resultOf(findings))
  const failed = findings.filter(({ state }) => state === 'fail')
  if (failed.length === 0) return undefined
  throw new TapestryError('FAILED_PRECONDITION', `failed: ${failed.map(({ check }) => check).join(', ')}`)
}

function resultOf(findings: readonly Finding[]): Result {
  const rows = findings.flatMap(({ check, state, detail, remedy }) => [
    [state, check, printable(detail)],
    ...(remedy === undefined ? [] : [['', '', `-> ${printable(remedy)}`]]),
  ])
  return {
    json: { findings: findings.map(({ remedy, ...finding }) => ({ ...finding, remedy: remedy ?? null })) },
    text: table([{ title: '' }, { title: '' }, { title: '' }], rows).trimStart(),
  }
}
