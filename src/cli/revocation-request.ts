import { setTimeout as delay } from 'node:timers/promises'
import { z } from 'zod'
import { TapestryError } from '../core/error.ts'
import { type Revocation, type RevocationEstimate, RevocationService } from '../gen/proto/tapestry/v1/revocation_pb.ts'
import type { Channel } from '../participant/channel.ts'
import { estimateRevocation, type RevocationWish, requestRevocation } from '../participant/revocations.ts'
import { flag, setting } from './command.ts'
import type { Output, Result } from './output.ts'
import { estimateJson, estimateText, revocationJson, revocationsTable } from './revocation-view.ts'

const MODES = ['remerge', 'rewind'] as const
const POLL_MS = 500
/** A page of revocations: more than one request begins. */
const PAGE = 1000

export const MODE_INPUT = { mode: z.enum(MODES).default('remerge') }

/** A fresh option for each command: commander's options belong to one command. */
export const modeOption = () =>
  setting('--mode <mode>', 'merge again what remains, or run the touched rounds again (remerge)').choices(MODES)

export const REVOCATION_INPUT = {
  ...MODE_INPUT,
  reason: z.string().default(''),
  dryRun: z.boolean().default(false),
  yes: z.boolean().default(false),
  wait: z.boolean().default(false),
}

/** Fresh options for each command: commander's options belong to one command. */
export const REVOCATION_OPTIONS = () => [
  modeOption(),
  flag('--reason <text>', 'why; an operator has to give it'),
  flag('--dry-run', 'only say what it would cost'),
  flag('--yes', 'do it: without this nothing is changed'),
  flag('--wait', 'wait until it is done'),
]

export const REVOCATION_NOTES =
  'Both modes supersede the checkpoints that hold any of it. See docs/REVOCATION.md for what each removes and what remains.'

type Choice = { readonly dryRun: boolean; readonly yes: boolean; readonly wait: boolean }

/**
 * Shows what a revocation costs and, with `yes`, begins it and waits for its end where that is wanted.
 * @throws TapestryError INVALID_ARGUMENT without `yes`; INTERNAL for a revocation that failed while it was waited for
 */
export async function revokeWith(
  channel: Channel,
  wish: RevocationWish,
  { dryRun, yes, wait }: Choice,
  output: Output,
): Promise<Result> {
  const estimates = await estimateRevocation(channel, wish)
  if (dryRun || estimates.length === 0) return estimateResult(estimates)
  if (!yes) {
    // A program reads one JSON value from stderr, and asks for the plan by --dry-run.
    if (!output.json) output.note(estimates.map(estimateText).join('\n'))
    const hint = output.json ? 'add --yes; --dry-run tells what it costs' : 'add --yes'
    throw new TapestryError('INVALID_ARGUMENT', 'a revocation cannot be taken back', { hint })
  }
  const begun = await requestRevocation(channel, wish)
  const revocations = wait ? await untilEnded(channel, begun, output) : begun
  return { json: { revocations: revocations.map(revocationJson) }, text: revocationsTable(revocations) }
}

function estimateResult(estimates: readonly RevocationEstimate[]): Result {
  const text = estimates.map(estimateText).join('\n') || 'there is nothing left to revoke'
  return { json: { estimates: estimates.map(estimateJson), revocations: [] }, text }
}

async function untilEnded(channel: Channel, begun: readonly Revocation[], output: Output): Promise<Revocation[]> {
  const told = new Map<string, string>()
  for (;;) {
    const { revocations } = await channel.call(RevocationService.method.listRevocations, { run: '', limit: PAGE })
    const own = revocations.filter((one) => begun.some(({ run, number }) => run === one.run && number === one.number))
    for (const { run, number, state } of own) {
      if (told.get(`${run} ${number}`) !== state) output.note(`revocation ${number} of run ${run}: ${state}`)
      told.set(`${run} ${number}`, state)
    }
    const failed = own.find(({ state }) => state === 'failed')
    if (failed !== undefined) throw new TapestryError('INTERNAL', `the revocation failed: ${failed.outcome}`)
    if (own.length === begun.length && own.every(({ state }) => state === 'done')) return own
    await delay(POLL_MS)
  }
}
