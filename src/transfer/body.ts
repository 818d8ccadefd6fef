/** TLS hands over 16 KiB at a time; one write of this size costs the disk a sixteenth of the calls. */
const BLOCK_BYTES = 256 * 1024

/**
 * A request's body in blocks of a fixed size, in one buffer that is used again: a block is valid until the next is
 * asked for. Nothing is read ahead of that, so a slow disk slows the sender down.
 * When the source fails, what had arrived is yielded before the failure goes on.
 */
export async function* inBlocks(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const block = Buffer.allocUnsafe(BLOCK_BYTES)
  const pieces = source[Symbol.asyncIterator]()
  let filled = 0
  try {
    for (;;) {
      const next = await take(pieces)
      if (next.kind !== 'piece') {
        if (filled > 0) yield block.subarray(0, filled)
        if (next.kind === 'failed') throw next.error
        return
      }
      for (let piece = next.piece; piece.byteLength > 0; ) {
        const fitting = piece.subarray(0, BLOCK_BYTES - filled)
        block.set(fitting, filled)
        filled += fitting.byteLength
        piece = piece.subarray(fitting.byteLength)
        if (filled < BLOCK_BYTES) continue
        yield block
        filled = 0
      }
    }
  } finally {
    await pieces.return?.()
  }
}

type Taken =
  | { readonly kind: 'piece'; readonly piece: Uint8Array }
  | { readonly kind: 'end' }
  | { readonly kind: 'failed'; readonly error: unknown }

async function take(pieces: AsyncIterator<Uint8Array>): Promise<Taken> {
  try {
    const { done, value } = await pieces.next()
    return done ? { kind: 'end' } : { kind: 'piece', piece: value }
  } catch (error) {
    return { kind: 'failed', error }
  }
}
