import type { Digest } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import { OPTIMIZER_FILE, WEIGHTS_FILE } from '../store/publish.ts'
import type { CheckpointRow } from '../store/records.ts'
import type { Reader } from '../store/store.ts'

/** A checkpoint that a round relies on. @throws TapestryError NOT_FOUND */
export async function requireCheckpoint(reader: Reader, digest: Digest): Promise<CheckpointRow> {
  const checkpoint = await reader.checkpoint(digest)
  if (checkpoint === undefined) throw new TapestryError('NOT_FOUND', `there is no checkpoint ${digest}`)
  return checkpoint
}

/** Digest of a checkpoint's weights file. @throws TapestryError NOT_FOUND */
export async function weightsOf(reader: Reader, checkpoint: Digest): Promise<Digest> {
  const { files } = await requireCheckpoint(reader, checkpoint)
  const file = files.find(({ path }) => path === WEIGHTS_FILE)
  if (file === undefined) throw new TapestryError('NOT_FOUND', `checkpoint ${checkpoint} has no ${WEIGHTS_FILE}`)
  return file.digest
}

/** Digest of what a checkpoint's optimizer remembers; undefined when it keeps nothing, as before the first merge. @throws TapestryError NOT_FOUND */
export async function optimizerStateOf(reader: Reader, checkpoint: Digest): Promise<Digest | undefined> {
  const { files } = await requireCheckpoint(reader, checkpoint)
  return files.find(({ path }) => path === OPTIMIZER_FILE)?.digest
}
