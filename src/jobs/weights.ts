import type { Context } from '../context.ts'
import type { Digest } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import { type WeightFiles, weightsAmong } from '../model/weight-index.ts'
import type { CheckpointRow } from '../store/checkpoint-row.ts'
import { OPTIMIZER_FILE } from '../store/publish.ts'
import type { Reader } from '../store/reader.ts'
import { localWeights } from '../store/weights.ts'

/** A checkpoint that a round relies on. @throws TapestryError NOT_FOUND */
export async function requireCheckpoint(reader: Reader, digest: Digest): Promise<CheckpointRow> {
  const checkpoint = await reader.checkpoint(digest)
  if (checkpoint === undefined) throw new TapestryError('NOT_FOUND', `there is no checkpoint ${digest}`)
  return checkpoint
}

/** Local files of a checkpoint's weights. @throws TapestryError NOT_FOUND */
export async function weightsOf({ store, blobs }: Context, checkpoint: Digest): Promise<WeightFiles> {
  const { files } = await requireCheckpoint(store.reader, checkpoint)
  const named = weightsAmong(files)
  if (named === undefined) throw new TapestryError('NOT_FOUND', `checkpoint ${checkpoint} has no weights`)
  return localWeights(blobs, named.digest)
}

/** Digest of what a checkpoint's optimizer remembers; undefined when it keeps nothing, as before the first merge. @throws TapestryError NOT_FOUND */
export async function optimizerStateOf(reader: Reader, checkpoint: Digest): Promise<Digest | undefined> {
  const { files } = await requireCheckpoint(reader, checkpoint)
  return files.find(({ path }) => path === OPTIMIZER_FILE)?.digest
}
