import type { Job } from '../gen/proto/tapestry/v1/operator_pb.ts'
import { formatTime, printable, table } from './terminal.ts'

/** Jobs for programs; null where there is nothing. */
export function jobJson(job: Job) {
  const { id, kind, ref, state, attempts, lastError, leaseHolder, leaseUntilMs, createdMs, updatedMs } = job
  return {
    ...{ id, kind, run: ref?.run ?? '', round: ref?.number ?? 0, state, attempts },
    lastError: lastError || null,
    leaseHolder: leaseHolder || null,
    leaseUntilMs: leaseUntilMs === 0n ? null : Number(leaseUntilMs),
    createdMs: Number(createdMs),
    updatedMs: Number(updatedMs),
  }
}

/** Jobs for people. */
export function jobsTable(jobs: readonly Job[]): string {
  const titles = ['JOB', 'STATE', 'ATTEMPTS', 'HOLDER', 'UNTIL', 'LAST ERROR']
  return table(
    titles.map((title) => ({ title, ...(title === 'ATTEMPTS' && { align: 'right' as const }) })),
    jobs.map(({ id, state, attempts, leaseHolder, leaseUntilMs, lastError }) => [
      ...[id, state, String(attempts), leaseHolder || '-'].map(printable),
      leaseUntilMs === 0n ? '-' : formatTime(Number(leaseUntilMs)),
      printable(lastError || '-'),
    ]),
  )
}
