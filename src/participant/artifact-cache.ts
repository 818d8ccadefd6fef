import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type Digest, hexOf } from '../core/digest.ts'
import type { TransferOptions } from './artifact.ts'
import type { Channel } from './channel.ts'
import { downloadArtifact, type Wanted } from './download.ts'

/**
 * Weights by content address. A candidate that gets published is the next round's base: it is fetched once.
 */
export class ArtifactCache {
  readonly #directory: string
  readonly #running = new Map<Digest, Promise<unknown>>()

  constructor(directory: string) {
    this.#directory = directory
  }

  /** Fetches an artifact unless it is here. @returns its path. @throws as {@link downloadArtifact}. */
  async fetch(channel: Channel, wanted: Wanted, options: TransferOptions): Promise<string> {
    const path = join(this.#directory, hexOf(wanted.digest))
    // Two runs may want the same weights at the same time; one part file has one writer.
    while (this.#running.has(wanted.digest)) await this.#running.get(wanted.digest)?.catch(() => undefined)
    const fetching = downloadArtifact(channel, wanted, path, options)
    this.#running.set(wanted.digest, fetching)
    try {
      await fetching
    } finally {
      this.#running.delete(wanted.digest)
    }
    return path
  }

  /** Deletes everything but these and what is being fetched. */
  async prune(keep: ReadonlySet<Digest>): Promise<void> {
    const kept = new Set([...keep, ...this.#running.keys()].map(hexOf))
    for (const name of await readdir(this.#directory).catch(() => [])) {
      const hex = /^([0-9a-f]{64})(?:\.part)?$/.exec(name)?.[1]
      if (hex !== undefined && !kept.has(hex)) await rm(join(this.#directory, name), { force: true })
    }
  }
}
