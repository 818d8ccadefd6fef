import { TapestryError } from '../core/error.ts'
import type { RoundKey } from '../core/ids.ts'
import { NodeService } from '../gen/proto/tapestry/v1/node_pb.ts'
import { RoundService } from '../gen/proto/tapestry/v1/round_pb.ts'
import type { NodeClient } from './client.ts'
import { isUnimplemented } from './declare.ts'
import type { NodeDirectory } from './node-directory.ts'
import { writePaused, writeSkipped } from './participation.ts'

/**
 * Takes no part in one round, also one that has not begun: noted first, so that it holds whoever can be reached.
 * @returns whether the coordinator knows; one that cannot be reached learns it when the node runs.
 */
export async function skipRound(directory: NodeDirectory, client: NodeClient, key: RoundKey): Promise<boolean> {
  await writeSkipped(directory, key)
  return told(() => tellDeclined(client, key))
}

/** Takes no part in anything from now on, or again in everything. @returns as {@link skipRound}. */
export async function setPaused(directory: NodeDirectory, client: NodeClient, paused: boolean): Promise<boolean> {
  await writePaused(directory, paused)
  return told(() => tellPaused(client, paused))
}

/** Tells the coordinator not to wait for this node in a round. @throws TapestryError */
export async function tellDeclined(client: NodeClient, key: RoundKey, signal?: AbortSignal): Promise<void> {
  await client.call(RoundService.method.declineRound, { ref: key }, { signal }).catch(passOverOlder)
}

/** @throws TapestryError */
export async function tellPaused(client: NodeClient, paused: boolean, signal?: AbortSignal): Promise<void> {
  await client.call(NodeService.method.declarePause, { paused }, { signal }).catch(passOverOlder)
}

/** An older coordinator waits for its deadlines, as it always did. */
function passOverOlder(error: unknown): void {
  if (!isUnimplemented(error)) throw error
}

async function told(tell: () => Promise<void>): Promise<boolean> {
  try {
    await tell()
    return true
  } catch (error) {
    const { code } = error instanceof TapestryError ? error : { code: 'INTERNAL' }
    // NOT_FOUND: a round that has not begun.
    if (code !== 'UNAVAILABLE' && code !== 'DEADLINE_EXCEEDED' && code !== 'NOT_FOUND') throw error
    return false
  }
}
