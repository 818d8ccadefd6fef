import type { Clock } from '../../core/clock.ts'
import { EnrollmentService } from '../../gen/proto/tapestry/v1/enrollment_pb.ts'
import type { Channel } from '../../participant/channel.ts'
import { printable } from '../terminal.ts'
import { version } from '../version.ts'
import { type Diagnosis, ok, warn } from './diagnosis.ts'
import { examineClock } from './machine.ts'

/** A person waits for the answer. */
export const IMPATIENT = { attempts: 1, deadlineMs: 10_000 } as const

/** Whether a coordinator answers and which program it runs, and how far its clock is from ours. */
export type Reached = { readonly answer: Diagnosis; readonly clock: Diagnosis }

/** @throws TapestryError UNAVAILABLE, or whatever the coordinator says. */
export async function reach(channel: Channel, clock: Clock): Promise<Reached> {
  const sent = clock.now()
  const { version: theirs, nowMs } = await channel.call(EnrollmentService.method.getFederation, {}, IMPATIENT)
  const received = clock.now()
  const unknown = warn('an older coordinator, which does not tell its clock', 'compare the clocks yourself')
  return {
    answer: answerOf(channel.address.text, received - sent, theirs),
    clock: nowMs === 0n ? unknown : examineClock(sent, Number(nowMs), received, 'the coordinator'),
  }
}

/** Minor versions understand each other: the protocol only grows. */
function answerOf(where: string, ms: number, theirs: string): Diagnosis {
  const detail = `${where} answers within ${ms} ms, version ${printable(theirs) || 'unknown'}`
  const ours = version()
  if (theirs === '' || theirs.split('.')[0] === ours.split('.')[0]) return ok(detail)
  return warn(`${detail}; this program is ${ours}`, 'bring the older of both up to date')
}
