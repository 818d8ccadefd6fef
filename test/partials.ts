import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Digest, hexOf } from '../src/core/digest.ts'

/** Leaves bytes in a blob directory as a process does that ends before it has checked their hash. */
export async function keepUnchecked(directory: string, digest: Digest, bytes: Uint8Array): Promise<void> {
  const partial = join(directory, 'partial', hexOf(digest))
  await mkdir(partial)
  await writeFile(join(partial, 'idle'), bytes)
}
