import type { KeyObject } from 'node:crypto'
import { z } from 'zod'
import type { Clock } from '../core/clock.ts'
import type { Digest } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import { privateKeyFromPem } from '../core/signature.ts'
import { type FederationRecord, parseFederationRecord } from '../model/federation-record.ts'
import { signatureSchema } from '../model/parsing.ts'
import type { Plan } from '../plan/plan.ts'
import { ArtifactCache } from './artifact-cache.ts'
import type { NodeClient } from './client.ts'
import { DatasetBook } from './declare.ts'
import { fetchFederation } from './federation.ts'
import { LogKeeper } from './log-keeper.ts'
import { type NodeDirectory, requireKey } from './node-directory.ts'
import type { NodeEvent } from './node-event.ts'
import { Participation } from './participation.ts'
import { type LocalPolicy, readPolicy } from './policy-file.ts'
import type { Backoff } from './retry.ts'
import type { Trainer } from './trainer.ts'

/** What a node at work has in its hands. */
export type NodeContext = {
  readonly directory: NodeDirectory
  readonly client: NodeClient
  readonly trainer: Trainer
  readonly clock: Clock
  readonly backoff: Backoff
  /** The node's own rules, which no coordinator changes. */
  readonly policy: LocalPolicy
  /** What the node's people have decided about taking part. */
  readonly participation: Participation
  readonly datasets: DatasetBook
  /** Ed25519 private key that signs what the node hands in. */
  readonly nodeKey: KeyObject
  readonly cache: ArtifactCache
  /** Plans that have been verified in this life of the process. */
  readonly plans: Map<Digest, Plan>
  readonly federation: FederationKeeper
  readonly log: LogKeeper
  readonly emit: (event: NodeEvent) => void
}

/** What ends a piece of work. */
export type WorkSignals = {
  /** The round has moved on, or the node stops: training and transfers are pointless. */
  readonly work: AbortSignal
  /** The node stops. A call that hands something in is short, and its answer counts though the round moves meanwhile. */
  readonly stop: AbortSignal
}

/** The federation's record; release keys may be added while a node runs. */
export type FederationKeeper = {
  current(): FederationRecord
  /** Asks the coordinator for the present record. @throws TapestryError WRONG_FEDERATION, VERIFICATION_FAILED */
  refresh(signal: AbortSignal): Promise<FederationRecord>
}

const storedSchema = z.strictObject({ record: z.string(), signature: signatureSchema })

/** Reads what a node needs from its directory. @throws TapestryError DATA_INVALID when something is missing. */
export async function openNodeContext(
  options: Pick<NodeContext, 'directory' | 'client' | 'trainer' | 'clock' | 'backoff' | 'emit'>,
): Promise<NodeContext> {
  const { directory, client } = options
  const policy = await readPolicy(directory)
  const nodeKey = privateKeyFromPem(await requireKey(directory, 'node.key'))
  return {
    ...options,
    policy,
    participation: new Participation(directory),
    nodeKey,
    datasets: new DatasetBook({ directory, client, nodeKey, policy }),
    cache: new ArtifactCache(directory.cachePath),
    plans: new Map(),
    federation: await keepFederation(directory, client),
    log: new LogKeeper(directory, client, options.clock),
  }
}

async function keepFederation(directory: NodeDirectory, client: NodeClient): Promise<FederationKeeper> {
  const id = client.membership.federation
  let record = readStored(await requireKey(directory, 'federation.json'), id)
  return {
    current: () => record,
    async refresh(signal) {
      const fetched = await fetchFederation(client, id, signal)
      const text = Buffer.from(fetched.bytes).toString('utf8')
      await directory.writeKey('federation.json', JSON.stringify({ record: text, signature: fetched.signature }))
      record = fetched.record
      return record
    },
  }
}

function readStored(text: string, id: string): FederationRecord {
  try {
    const { record, signature } = storedSchema.parse(JSON.parse(text))
    return parseFederationRecord(Buffer.from(record, 'utf8'), signature, id)
  } catch (cause) {
    throw new TapestryError('DATA_INVALID', 'federation.json of this node is damaged', { cause })
  }
}
