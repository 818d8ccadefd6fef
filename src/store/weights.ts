import type { Digest } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import {
  indexBytes,
  indexOf,
  readIndex,
  type ShardContents,
  WEIGHTS_FILE,
  WEIGHTS_INDEX,
  type WeightFiles,
} from '../model/weight-index.ts'
import type { Blob, BlobStore } from './blob-store.ts'
import type { CheckpointFileRow } from './checkpoint-row.ts'

/** Stored weights: the digest that names them, of the one file or of the index; and the shards that the index names. */
export type StoredWeights = { readonly digest: Digest; readonly shards: readonly Digest[] }

/** Gives files that are stored in order the digest of the weights that they are: those of several are in an index. @throws DISK_FULL. */
export async function nameWeights(
  blobs: BlobStore,
  contents: readonly ShardContents[],
  files: readonly Blob[],
): Promise<StoredWeights> {
  const [first] = files
  if (first !== undefined && files.length === 1) return { digest: first.digest, shards: [] }
  const { digest } = await blobs.put(indexBytes(indexOf(contents, files)))
  return { digest, shards: files.map((file) => file.digest) }
}

/** Local files with the tensors of the weights that a digest names. @throws TapestryError NOT_FOUND */
export async function localWeights(blobs: BlobStore, weights: Digest): Promise<WeightFiles> {
  const path = await blobs.localPath(weights)
  const index = await readIndex(path)
  return index === undefined ? [path] : Promise.all(index.shards.map(({ digest }) => blobs.localPath(digest)))
}

/** The files of a checkpoint with the weights that a digest names. @throws TapestryError NOT_FOUND when one is not stored */
export async function releasedWeights(blobs: BlobStore, weights: Digest): Promise<CheckpointFileRow[]> {
  const whole = await requireBlob(blobs, weights)
  const index = await readIndex(await blobs.localPath(weights))
  if (index === undefined) return [{ path: WEIGHTS_FILE, ...whole }]
  const files: CheckpointFileRow[] = [{ path: WEIGHTS_INDEX, ...whole }]
  for (const { path, digest } of index.shards) files.push({ path, ...(await requireBlob(blobs, digest)) })
  return files
}

/** Names weights whose files, in order, a merge has written: they become blobs. @throws DISK_FULL */
export async function adoptWeights(
  blobs: BlobStore,
  written: readonly (ShardContents & { readonly path: string })[],
): Promise<StoredWeights> {
  const adopted: Blob[] = []
  for (const { path } of written) adopted.push(await blobs.adopt(path))
  return nameWeights(blobs, written, adopted)
}

/** A blob that a checkpoint is about to name: it counts as made now. @throws TapestryError NOT_FOUND */
export async function requireBlob(blobs: BlobStore, digest: Digest): Promise<Blob> {
  const blob = await blobs.renew(digest)
  if (blob === undefined) throw new TapestryError('NOT_FOUND', `${digest}, a part of a checkpoint, is not stored`)
  return blob
}
