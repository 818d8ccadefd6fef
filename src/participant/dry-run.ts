import type { Clock } from '../core/clock.ts'
import { ensureDigest } from '../core/digest.ts'
import { ensureRunId, type RunId } from '../core/ids.ts'
import { type Round, RoundService } from '../gen/proto/tapestry/v1/round_pb.ts'
import { type Invitation, objectionTo, type Refusal } from '../policy/node-policy.ts'
import { admissionTo, type DatasetAdvice } from './admission.ts'
import type { NodeClient } from './client.ts'
import { openNodeContext } from './node-context.ts'
import type { NodeDirectory } from './node-directory.ts'
import { engineTrainer } from './trainer.ts'
import { received } from './wire.ts'

/** What would happen in one run. */
export type RunForecast = {
  readonly run: RunId
  /** The node's own rule that keeps it out; undefined when none does. */
  readonly refusal: Refusal | undefined
  readonly datasets: readonly DatasetAdvice[]
}

export type DryRunOptions = {
  readonly directory: NodeDirectory
  readonly client: NodeClient
  readonly clock: Clock
  readonly run: RunId | undefined
  readonly signal: AbortSignal
}

/** Runs that have had no round yet have no plan to name either. */
type KnownRun = Pick<Invitation, 'run' | 'plan' | 'peerReviews'>

/**
 * Registers the node's datasets and asks what each run would do with them; joins nothing and trains nothing.
 * @throws TapestryError DATA_INVALID, UNAVAILABLE; NOT_FOUND for a run that was named and is not there
 */
export async function dryRun({ directory, client, clock, run, signal }: DryRunOptions): Promise<RunForecast[]> {
  const backoff = { baseMs: 0, capMs: 0, random: () => 0 }
  const emit = () => undefined
  const node = await openNodeContext({ directory, client, clock, backoff, emit, trainer: engineTrainer() })
  const forecasts: RunForecast[] = []
  for (const known of await runsOf(client, run, signal)) {
    const { demands, advice } = await admissionTo(node, known.run, signal)
    const invitation = { federation: client.membership.federation, ...known, demands }
    forecasts.push({ run: known.run, refusal: objectionTo(node.policy.rules, invitation), datasets: advice })
  }
  return forecasts
}

/** The run that was asked about, or every run that may still have rounds. */
async function runsOf(client: NodeClient, run: RunId | undefined, signal: AbortSignal): Promise<KnownRun[]> {
  const { rounds } = await client.call(RoundService.method.listRounds, { run: run ?? '' }, { signal })
  const newest = new Map<string, Round>()
  for (const round of rounds) {
    const id = round.ref?.run ?? ''
    if ((newest.get(id)?.ref?.number ?? 0) < (round.ref?.number ?? 0)) newest.set(id, round)
  }
  const known = [...newest].map(([id, { planDigest, peerReviews }]) => {
    return { run: received(ensureRunId, id), plan: received(ensureDigest, planDigest), peerReviews }
  })
  return known.length === 0 && run !== undefined ? [{ run, plan: undefined, peerReviews: false }] : known
}
