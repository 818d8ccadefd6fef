import { z } from 'zod'
import type { Digest } from '../core/digest.ts'
import { digestSchema } from '../model/parsing.ts'

/** One reason to keep a blob. */
export const blobHolderSchema = z.strictObject({
  /** Of the blob. */
  digest: digestSchema,
  kind: z.enum(['contribution', 'checkpoint', 'round', 'upload']),
  /** Digest of the contribution or checkpoint; run/number of the round; the sending node. */
  holder: z.string(),
  /** A revocation has taken the holder back: it is no reason any more. */
  takenBack: z.boolean(),
})

export type BlobHolder = z.output<typeof blobHolderSchema>

/**
 * Those of the candidates that nothing holds: the only blobs that may be deleted.
 * @param alsoTakenBack holders that count as taken back already
 */
export function unheldBlobs(
  candidates: readonly Digest[],
  holders: readonly BlobHolder[],
  alsoTakenBack: ReadonlySet<string> = new Set(),
): Digest[] {
  const holding = holders.filter(({ holder, takenBack }) => !takenBack && !alsoTakenBack.has(holder))
  const held = new Set(holding.map(({ digest }) => digest))
  return [...new Set(candidates)].filter((digest) => !held.has(digest))
}
