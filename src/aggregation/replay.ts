import { basename, join } from 'node:path'
import { type Digest, digestOf as digestOfBytes } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import { type Manifest, mergesOf } from '../model/manifest.ts'
import { indexBytes, indexOf, WEIGHTS_INDEX, weightFilesAmong } from '../model/weight-index.ts'
import type { WrittenFile } from './merge.ts'
import { keepsState } from './merge-round.ts'
import { mergeStep, STATE_FILE, type SteppedModel } from './merge-step.ts'

/** A file that a replay needs. */
export type ReplayInput = { readonly digest: Digest; readonly size: number }

export type ReplayRequest = {
  /** The checkpoint whose merge is repeated. */
  readonly manifest: Manifest
  /** The checkpoint that its round started from: `manifest.base` names it. */
  readonly base: Manifest
  /** Path of an input; its bytes have the digest. */
  readonly pathOf: (digest: Digest) => Promise<string>
  readonly digestOf: (path: string) => Promise<Digest>
  /** An empty directory for the files that are made again. */
  readonly scratch: string
  readonly threads?: number | undefined
  readonly onProgress?: ((done: number, total: number) => void) | undefined
  readonly signal?: AbortSignal | undefined
}

/** What the manifest says of a file, and what the replay made of it. */
export type Replayed = { readonly path: string; readonly released: Digest; readonly found: Digest }

/**
 * Files that {@link replayMerge} reads: the base's weights, its optimizer's state if the strategy goes on from one,
 * and the delta of every contribution.
 * @throws TapestryError FAILED_PRECONDITION for an initial checkpoint, which merges nothing
 */
export function replayInputs(manifest: Manifest, base: Manifest): ReplayInput[] {
  if (manifest.base === null || mergesOf(manifest).length === 0) {
    throw new TapestryError('FAILED_PRECONDITION', 'an initial checkpoint merges nothing that could be replayed')
  }
  const state = keepsState(manifest.strategy) ? fileOf(base, STATE_FILE) : undefined
  const deltas = stepsOf(manifest).flatMap((step) =>
    step.map(({ payload, bytes }) => ({ digest: payload, size: bytes })),
  )
  return [...weightFilesAmong(base.files), ...(state === undefined ? [] : [state]), ...deltas]
}

/**
 * Repeats a published merge, or the merges of a revision one after another, from their inputs, with the weights and
 * the strategy of its manifest.
 * @returns every file that the last merge made: it is the same merge when each `found` equals `released`
 * @throws TapestryError as `replayInputs` and `mergeRound`; DATA_INVALID when a manifest names no such file
 */
export async function replayMerge(request: ReplayRequest): Promise<Replayed[]> {
  const { manifest, base, pathOf, digestOf, scratch, threads, onProgress, signal } = request
  replayInputs(manifest, base)
  const { strategy, codec, shardBytes } = manifest
  const state = keepsState(strategy) ? fileOf(base, STATE_FILE) : undefined
  const start = {
    weights: await Promise.all(weightFilesAmong(base.files).map(({ digest }) => pathOf(digest))),
    state: state && (await pathOf(state.digest)),
  }
  let made: SteppedModel = { ...start, written: [] }
  const steps = stepsOf(manifest)
  for (const [index, step] of steps.entries()) {
    const deltas = await Promise.all(step.map(async ({ payload, weight }) => ({ path: await pathOf(payload), weight })))
    const report =
      onProgress && ((done: number, total: number) => onProgress(index * total + done, steps.length * total))
    const options = { strategy, codec, shardBytes, threads, onProgress: report, signal }
    made = await mergeStep(made, deltas, join(scratch, String(index)), options)
  }
  const compare = async (path: string, file: string): Promise<Replayed> => {
    return { path, released: requireFile(manifest, path).digest, found: await digestOf(file) }
  }
  const weights = await Promise.all(made.weights.map((file) => compare(basename(file), file)))
  const states = made.state === undefined ? [] : [await compare(STATE_FILE, made.state)]
  return [...weights, ...(weights.length > 1 ? [replayIndex(manifest, made.written, weights)] : []), ...states]
}

/** The index follows from the shards: made anew from what was found, not read. */
function replayIndex(manifest: Manifest, written: readonly WrittenFile[], shards: readonly Replayed[]): Replayed {
  const files = shards.map(({ path, found }) => ({ digest: found, size: requireFile(manifest, path).size }))
  const found = digestOfBytes(indexBytes(indexOf(written, files)))
  return { path: WEIGHTS_INDEX, released: requireFile(manifest, WEIGHTS_INDEX).digest, found }
}

/** A contribution of weight 0 took no part. */
function stepsOf(manifest: Manifest) {
  return mergesOf(manifest).map(({ contributions }) => contributions.filter(({ weight }) => weight > 0))
}

function fileOf({ files }: Manifest, path: string): ReplayInput | undefined {
  return files.find((file) => file.path === path)
}

function requireFile(manifest: Manifest, path: string): ReplayInput {
  const file = fileOf(manifest, path)
  if (file !== undefined) return file
  throw new TapestryError('DATA_INVALID', `the manifest of ${manifest.run}@${manifest.version} names no ${path}`)
}
