import { createHash } from 'node:crypto'
import { type Digest, fromHex } from '../core/digest.ts'
import { documentsOf } from './dataset.ts'
import { type Exclusions, Guard } from './exclusions.ts'
import { type Allowance, type DataSource, MAX_DATASET_BYTES, readTexts } from './sources.ts'

/**
 * A commitment to text: SHA-256 over the SHA-256 of its different documents, in order of those digests. The same
 * lines in other files, in another order or repeated give the same commitment; one line more gives another.
 * Whoever has the same text can recognise it, nobody can read it; what the node excludes is no part of it.
 * @throws TapestryError DATA_INVALID as reading the sources does
 */
export async function contentOf(sources: readonly DataSource[], exclusions?: Exclusions): Promise<Digest> {
  const guard = new Guard(exclusions)
  const digests = new Set<string>()
  const allowance: Allowance = { bytes: MAX_DATASET_BYTES }
  for (const source of sources) {
    for (const { text } of await readTexts(source, allowance, guard)) {
      for (const bytes of documentsOf(text, guard)) digests.add(createHash('sha256').update(bytes).digest('hex'))
    }
  }
  const whole = createHash('sha256')
  for (const digest of [...digests].sort()) whole.update(digest, 'hex')
  return fromHex(whole.digest('hex'))
}
