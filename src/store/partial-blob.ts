import { mkdir, open, readdir, rename, rm, rmdir, stat, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import { TapestryError } from '../core/error.ts'
import { hasCode, ifPresent } from './durable-file.ts'
import { ownedName, ownerIsGone } from './file-owner.ts'

/** The name of a partial that nobody writes to. */
export const IDLE = 'idle'
/** A writer shows this often that it lives, so that others know on machines from which its process cannot be seen. */
export const BEAT_MS = 10_000
/** Several lost beats, and clocks that differ by less than leases allow for anyway. */
const LONGEST_SILENCE_MS = 60_000

/**
 * The unfinished bytes of one blob: a directory that holds one file. Whoever writes claims the file
 * by renaming it to a name of its own, which the file system lets only one do; a claim whose owner
 * is gone is taken over in the same way. A lock file beside it could go stale and would have to be
 * broken, which two can do at once; a renamed file cannot be claimed twice, and nobody who lost the
 * claim can make the file whole.
 */
export class PartialBlob {
  readonly #directory: string
  readonly #beatMs: number

  constructor(directory: string, beatMs: number = BEAT_MS) {
    this.#directory = directory
    this.#beatMs = beatMs
  }

  /** Bytes kept so far, whoever is writing them; 0 when there are none. */
  async size(): Promise<number> {
    for (const name of await this.#names()) {
      const found = await ifPresent(stat(join(this.#directory, name)))
      if (found !== undefined) return found.size
    }
    return 0
  }

  /**
   * Runs `work` as the only writer; the partial is idle again afterwards, unless `work` moved or removed it.
   * @param create whether to begin an empty partial when there is none.
   * @returns undefined when there is none and none was to be begun.
   * @throws TapestryError UNAVAILABLE while another writer, here or in another process, holds it.
   */
  async claim<T>(create: boolean, work: (path: string) => Promise<T>): Promise<T | undefined> {
    const mine = await this.#take(create)
    if (mine === undefined) return undefined
    const beat = setInterval(() => touch(mine).catch(() => undefined), this.#beatMs)
    try {
      return await work(mine)
    } finally {
      clearInterval(beat)
      await ifPresent(rename(mine, join(this.#directory, IDLE)))
      await this.#removeIfEmpty()
    }
  }

  async #take(create: boolean): Promise<string | undefined> {
    const mine = join(this.#directory, ownedName())
    const [name] = await this.#names()
    if (name === undefined) return create ? this.#begin(mine) : undefined
    const path = join(this.#directory, name)
    if (name !== IDLE && !(await isAbandoned(path, name))) throw busy()
    // Touched first, so that nobody mistakes an old partial's new owner for one who fell silent.
    const taken = await ifPresent(touch(path).then(() => rename(path, mine).then(() => true)))
    // Somebody was faster: renaming is what decides.
    if (taken === undefined) throw busy()
    return mine
  }

  async #begin(mine: string): Promise<string> {
    await mkdir(this.#directory, { recursive: true })
    const file = await ifPresent(open(mine, 'wx'))
    // The directory went away under us: somebody finished or discarded the blob at this moment.
    if (file === undefined) throw busy()
    await file.close()
    // Of two that begin at the same time at least one sees both files, and gives way.
    if ((await this.#names()).length === 1) return mine
    await rm(mine, { force: true })
    throw busy()
  }

  async #names(): Promise<readonly string[]> {
    return (await ifPresent(readdir(this.#directory))) ?? []
  }

  async #removeIfEmpty(): Promise<void> {
    try {
      await rmdir(this.#directory)
    } catch (error) {
      if (!hasCode(error, 'ENOTEMPTY') && !hasCode(error, 'EEXIST') && !hasCode(error, 'ENOENT')) throw error
    }
  }
}

async function touch(path: string): Promise<void> {
  const now = new Date()
  await utimes(path, now, now)
}

async function isAbandoned(path: string, name: string): Promise<boolean> {
  const found = await ifPresent(stat(path))
  return found !== undefined && ownerIsGone(name, Date.now() - found.mtimeMs, LONGEST_SILENCE_MS)
}

function busy(): TapestryError {
  return new TapestryError('UNAVAILABLE', 'another connection is sending this artifact', {
    hint: 'Ask for the offset and try again in a moment.',
  })
}
