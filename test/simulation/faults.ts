import type { Context } from '../../src/context.ts'
import { TapestryError } from '../../src/core/error.ts'
import type { BlobStore, ByteSource } from '../../src/store/blob-store.ts'
import type { Isolation, Tx } from '../../src/store/store.ts'
import type { Activity } from './activity.ts'
import type { Dice } from './dice.ts'
import type { Tally } from './tally.ts'

/** What is broken at the moment. */
export type Weather = {
  /** The disk takes nothing. */
  diskFull: boolean
  /** How many of the next transactions lose their connection: half of them before, half of them after the commit. */
  lostConnections: number
  /** What of it was met. */
  readonly tally: Tally
}

const PIECE_BYTES = 16_384

/** A context as one activity of a simulated process has it: it stops before and after everything that it writes. */
export function contextFor(activity: Activity, context: Context, weather: Weather, dice: Dice): Context {
  const transact = async <T>(name: string, work: (tx: Tx) => Promise<T>, isolation?: Isolation): Promise<T> => {
    // Renewals come by real time, which no schedule knows: here nobody renews, and leases end by the simulated clock.
    if (name === 'renew-lease') return true as T
    await activity.point(`before ${name}`)
    const lost = weather.lostConnections > 0
    if (lost) {
      weather.lostConnections -= 1
      weather.tally.add('transaction lost its connection')
    }
    if (lost && dice.chance(0.5)) throw unreachable()
    const value = await context.store.transact(name, work, isolation)
    if (name === 'lease-job') weather.tally.add(leaseOf(value))
    if (lost) throw unreachable()
    await activity.point(`after ${name}`)
    return value
  }
  return {
    ...context,
    store: { ...context.store, transact },
    blobs: blobsFor(activity, context.blobs, weather),
    freeBytes: async () => (weather.diskFull ? 0 : Number.POSITIVE_INFINITY),
  }
}

function blobsFor(activity: Activity, blobs: BlobStore, weather: Weather): BlobStore {
  const writing = async <T>(label: string, write: () => Promise<T>): Promise<T> => {
    await activity.point(label)
    if (!weather.diskFull) return write()
    weather.tally.add('write on a full disk')
    throw new TapestryError('DISK_FULL', 'no space left on the simulated disk')
  }
  const methods: Partial<BlobStore> = {
    put: (source: ByteSource) => writing('before put', () => blobs.put(source)),
    adopt: (path: string) => writing('before adopt', () => blobs.adopt(path)),
    append: (...what) => writing('before append', () => blobs.append(...what)),
    complete: (digest, size) => writing('before complete', () => blobs.complete(digest, size)),
    discard: (digest) => writing('before discard', () => blobs.discard(digest)),
  }
  return new Proxy(blobs, {
    get(target, name: keyof BlobStore) {
      const own = methods[name]
      return own ?? target[name].bind(target)
    },
  })
}

/** Bytes that arrive piece by piece, and stop arriving when their receiver dies. */
export async function* arriving(activity: Activity, bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.byteLength; at += PIECE_BYTES) {
    await activity.receiving(`receiving at ${at}`)
    yield bytes.subarray(at, at + PIECE_BYTES)
  }
}

/** What a worker got when it asked for a job. */
function leaseOf(value: unknown): string {
  if (typeof value !== 'object' || value === null || !('attempts' in value)) return 'no job to lease'
  return value.attempts === 1 ? 'job run' : 'job run again'
}

function unreachable(): TapestryError {
  return new TapestryError('UNAVAILABLE', 'the simulated database cannot be reached')
}
