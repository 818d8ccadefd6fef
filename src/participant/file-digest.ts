import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { type Digest, fromHex } from '../core/digest.ts'
import { fileError } from '../model/whole-file.ts'

const READ_BYTES = 2 ** 20

/** Hashes a file in constant memory. @throws TapestryError NOT_FOUND */
export async function digestOfFile(path: string): Promise<{ readonly digest: Digest; readonly size: number }> {
  const hash = createHash('sha256')
  let size = 0
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: READ_BYTES })) {
      hash.update(chunk)
      size += chunk.length
    }
  } catch (cause) {
    throw fileError(path, cause)
  }
  return { digest: fromHex(hash.digest('hex')), size }
}
