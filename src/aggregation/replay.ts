import { basename, join } from 'node:path'
import { type Digest, digestOf as digestOfBytes } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import type { Manifest } from '../model/manifest.ts'
import { indexBytes, indexOf, WEIGHTS_FILE, WEIGHTS_INDEX, weightFilesAmong } from '../model/weight-index.ts'
import type { WrittenFile } from './merge.ts'
import { keepsState, mergeRound } from './merge-round.ts'

/** Where a checkpoint keeps what its optimizer remembers. */
const STATE_FILE = 'optimizer.safetensors'

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
  if (manifest.base === null || manifest.contributions.length === 0) {
    throw new TapestryError('FAILED_PRECONDITION', 'an initial checkpoint merges nothing that could be replayed')
  }
  const state = keepsState(manifest.strategy) ? fileOf(base, STATE_FILE) : undefined
  const deltas = mergedOf(manifest).map(({ payload, bytes }) => ({ digest: payload, size: bytes }))
  return [...weightFilesAmong(base.files), ...(state === undefined ? [] : [state]), ...deltas]
}

/**
 * Repeats a published merge from its inputs, with the weights and the strategy of its manifest.
 * @returns every file that the merge made: it is the same merge when each `found` equals `released`
 * @throws TapestryError as `replayInputs` and `mergeRound`; DATA_INVALID when a manifest names no such file
 */
export async function replayMerge(request: ReplayRequest): Promise<Replayed[]> {
  const { manifest, base, pathOf, digestOf, scratch, threads, onProgress, signal } = request
  replayInputs(manifest, base)
  const deltas = await Promise.all(
    mergedOf(manifest).map(async ({ payload, weight }) => ({ path: await pathOf(payload), weight })),
  )
  const made = (path: string) => join(scratch, path)
  const state = keepsState(manifest.strategy) ? fileOf(base, STATE_FILE) : undefined
  const before = state && (await pathOf(state.digest))
  const { files } = await mergeRound({
    base: await Promise.all(weightFilesAmong(base.files).map(({ digest }) => pathOf(digest))),
    deltas,
    out: made(WEIGHTS_FILE),
    shardBytes: manifest.shardBytes,
    strategy: manifest.strategy,
    codec: manifest.codec,
    optimizer: keepsState(manifest.strategy) ? { before, out: made(STATE_FILE) } : undefined,
    threads,
    onProgress,
    signal,
  })
  const compare = async (path: string): Promise<Replayed> => {
    return { path, released: requireFile(manifest, path).digest, found: await digestOf(made(path)) }
  }
  const weights = await Promise.all(files.map(({ path }) => compare(basename(path))))
  const states = keepsState(manifest.strategy) ? [await compare(STATE_FILE)] : []
  return [...weights, ...(files.length > 1 ? [replayIndex(manifest, files, weights)] : []), ...states]
}

/** The index follows from the shards: made anew from what was found, not read. */
function replayIndex(manifest: Manifest, written: readonly WrittenFile[], shards: readonly Replayed[]): Replayed {
  const files = shards.map(({ path, found }) => ({ digest: found, size: requireFile(manifest, path).size }))
  const found = digestOfBytes(indexBytes(indexOf(written, files)))
  return { path: WEIGHTS_INDEX, released: requireFile(manifest, WEIGHTS_INDEX).digest, found }
}

/** A contribution of weight 0 took no part. */
function mergedOf({ contributions }: Manifest) {
  return contributions.filter(({ weight }) => weight > 0)
}

function fileOf({ files }: Manifest, path: string): ReplayInput | undefined {
  return files.find((file) => file.path === path)
}

function requireFile(manifest: Manifest, path: string): ReplayInput {
  const file = fileOf(manifest, path)
  if (file !== undefined) return file
  throw new TapestryError('DATA_INVALID', `the manifest of ${manifest.run}@${manifest.version} names no ${path}`)
}
