import type { Clock } from '../core/clock.ts'
import { TapestryError } from '../core/error.ts'
import { Pace } from '../core/pace.ts'
import type { ByteSource } from './blob-store.ts'

/** A sender that says nothing at all for so long is gone, whatever its connection says. */
const SILENCE_MS = 120_000

/**
 * Passes bytes on as they come and gives up on a source that is too slow or silent.
 * @param least bytes a second; see {@link Pace}.
 * @throws TapestryError DEADLINE_EXCEEDED; whatever `source` throws.
 */
export function steady(source: ByteSource, least: number, clock: Clock, silenceMs = SILENCE_MS): ByteSource {
  return source instanceof Uint8Array ? source : watched(source, new Pace(least), clock, silenceMs)
}

async function* watched(source: AsyncIterable<Uint8Array>, pace: Pace, clock: Clock, silenceMs: number) {
  const iterator = source[Symbol.asyncIterator]()
  try {
    for (;;) {
      const from = clock.now()
      const next = await within(silenceMs, iterator.next())
      if (next.done) return
      pace.count(next.value.byteLength, clock.now() - from)
      yield next.value
    }
  } finally {
    // Not waited for: a source that is still asked for its next bytes would not answer before it has them.
    void iterator.return?.()?.catch(() => undefined)
  }
}

async function within<T>(ms: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const silence = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new TapestryError('DEADLINE_EXCEEDED', 'the sender fell silent')), ms)
  })
  try {
    return await Promise.race([work, silence])
  } finally {
    clearTimeout(timer)
  }
}
