import { rm } from 'node:fs/promises'
import { keepsResidual } from '../core/codec.ts'
import { TapestryError } from '../core/error.ts'
import { RoundService } from '../gen/proto/tapestry/v1/round_pb.ts'
import { encodeUpdate } from '../model/update-codec/encode-update.ts'
import { parameterSpecs } from '../plan/parameters.ts'
import type { Plan } from '../plan/plan.ts'
import type { Artifact } from './artifact.ts'
import { digestOfFile } from './file-digest.ts'
import type { NodeContext } from './node-context.ts'
import { type Pending, ResidualMemory } from './residual-memory.ts'
import { RoundFolder } from './round-folder.ts'
import type { RoundView } from './round-view.ts'

/** What a run's updates have left out; undefined for codecs that leave out nothing for later. */
export function residualOf(node: NodeContext, { key, codec }: RoundView): ResidualMemory | undefined {
  return keepsResidual(codec) ? new ResidualMemory(node.directory, key.run) : undefined
}

/**
 * Finds out what became of contributions that this node did not hear of again, so that it is known what is still to be
 * sent. Comes before training: without an answer there is nothing to begin with.
 * @throws TapestryError UNAVAILABLE and others of the call
 */
export async function settleResidual(node: NodeContext, view: RoundView, signal: AbortSignal): Promise<void> {
  const memory = residualOf(node, view)
  for (const pending of (await memory?.pending()) ?? []) {
    await memory?.settle(pending, await wasAccepted(node, view, pending, signal))
  }
}

/** By this node's own records, or else by the coordinator's. */
async function wasAccepted(
  { directory, client }: NodeContext,
  { key: { run } }: RoundView,
  { number, payload }: Pending,
  signal: AbortSignal,
): Promise<boolean> {
  const folder = new RoundFolder(directory, { run, number })
  const [outcome, report] = await Promise.all([folder.readOutcome(), folder.readReport()])
  if (outcome !== undefined && report?.payload.digest === payload) return outcome.contribution === 'accepted'
  const request = { ref: { run, number } }
  const { contributions } = await client.call(RoundService.method.getRound, request, { signal })
  return contributions.some(
    ({ node, status, payloadDigest }) =>
      node === client.membership.node && status === 'accepted' && payloadDigest === payload,
  )
}

/**
 * Makes of what was trained what is sent.
 * @returns the payload at the folder's `deltaPath`
 * @throws TapestryError ENGINE_FAILED when the trainer's file is not an update of the plan; DISK_FULL
 */
export async function encodeTrained(
  node: NodeContext,
  view: RoundView,
  plan: Plan,
  folder: RoundFolder,
): Promise<Artifact> {
  const memory = residualOf(node, view)
  await memory?.prepare()
  const { trainedPath: update, deltaPath: out } = folder
  const [residual, outResidual] = [await memory?.settled(), memory?.draftPath]
  const model = parameterSpecs(plan.spec)
  await encodeUpdate({ codec: view.codec, model, update, residual, out, outResidual }).catch((cause) => {
    if (!(cause instanceof TapestryError) || cause.code !== 'DATA_INVALID') throw cause
    throw new TapestryError('ENGINE_FAILED', `the trainer's update cannot be encoded: ${cause.message}`, { cause })
  })
  const payload = await digestOfFile(out)
  await memory?.keep({ number: view.key.number, payload: payload.digest })
  await rm(update, { force: true })
  return payload
}
