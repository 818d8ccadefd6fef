import { open } from 'node:fs/promises'

/** The bytes of a file from `start` on, before `end`. */
export type FileSpan = { readonly start: number; readonly end: number }

/**
 * Reads a span of a file in blocks that are used again: each stays as it is until the next one is asked for, which is
 * read meanwhile. A file that has become shorter ends early.
 * @throws the system's error when the file cannot be read.
 */
export async function* fileBlocks(
  path: string,
  { start, end }: FileSpan,
  blockBytes: number,
): AsyncGenerator<Uint8Array> {
  const file = await open(path)
  const size = Math.min(blockBytes, end - start)
  let [filling, handed] = [Buffer.allocUnsafeSlow(size), Buffer.allocUnsafeSlow(size)]
  const readFrom = (at: number) => file.read(filling, 0, Math.min(size, end - at), at)
  let reading = readFrom(start)
  try {
    for (let at = start; at < end; ) {
      const { bytesRead } = await reading
      if (bytesRead === 0) return
      at += bytesRead
      ;[filling, handed] = [handed, filling]
      if (at < end) reading = readFrom(at)
      yield handed.subarray(0, bytesRead)
    }
  } finally {
    await reading.catch(() => undefined)
    await file.close()
  }
}
