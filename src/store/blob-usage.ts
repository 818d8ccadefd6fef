import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { ifPresent } from './durable-file.ts'

/** How many whole blobs a directory holds and how many bytes they have. Reads every name: not for each request. */
export async function blobUsageOf(directory: string): Promise<{ readonly count: number; readonly bytes: number }> {
  const whole = join(directory, 'sha256')
  let [count, bytes] = [0, 0]
  for (const shelf of (await ifPresent(readdir(whole))) ?? []) {
    for (const name of (await ifPresent(readdir(join(whole, shelf)))) ?? []) {
      const found = await ifPresent(stat(join(whole, shelf, name)))
      if (found === undefined) continue
      count += 1
      bytes += found.size
    }
  }
  return { count, bytes }
}
