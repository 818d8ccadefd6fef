import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type Digest, hexOf } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import { readIndex, type WeightFiles } from '../model/weight-index.ts'
import type { TransferOptions } from './artifact.ts'
import type { Channel } from './channel.ts'
import { downloadArtifact, type Wanted } from './download.ts'

/**
 * Weights by content address. A candidate that gets published is the next round's base: it is fetched once.
 */
export class ArtifactCache {
  readonly #directory: string
  readonly #running = new Map<Digest, Promise<unknown>>()
  /** Indices whose shards are being fetched. */
  readonly #gathering = new Set<Digest>()

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

  /**
   * Fetches weights: an artifact, or every shard of the index that the artifact is.
   * @param mostBytes what the shards may have together
   * @throws as {@link downloadArtifact}; VERIFICATION_FAILED for an index that is not valid, or names more.
   */
  async fetchWeights(
    channel: Channel,
    wanted: Wanted,
    mostBytes: number,
    options: TransferOptions,
  ): Promise<WeightFiles> {
    const path = await this.fetch(channel, wanted, options)
    const index = await readIndex(path)
    if (index === undefined) return [path]
    const total = index.shards.reduce((sum, { size }) => sum + size, 0)
    if (total > mostBytes) {
      throw new TapestryError('VERIFICATION_FAILED', `the shards of ${wanted.digest} have ${total} bytes, too many`)
    }
    const paths: string[] = []
    let before = 0
    const onProgress = (done: number) => options.onProgress?.(before + done, total)
    this.#gathering.add(wanted.digest)
    try {
      for (const { digest, size } of index.shards) {
        paths.push(await this.fetch(channel, { digest, size }, { ...options, onProgress }))
        before += size
      }
    } finally {
      this.#gathering.delete(wanted.digest)
    }
    return paths
  }

  /** Deletes everything but these, their shards, and what is being fetched. */
  async prune(keep: ReadonlySet<Digest>): Promise<void> {
    const named = [...keep, ...this.#gathering, ...this.#running.keys()]
    const kept = new Set([...named, ...(await this.#shardsOf(named))].map(hexOf))
    for (const name of await readdir(this.#directory).catch(() => [])) {
      const hex = /^([0-9a-f]{64})(?:\.part)?$/.exec(name)?.[1]
      if (hex !== undefined && !kept.has(hex)) await rm(join(this.#directory, name), { force: true })
    }
  }

  async #shardsOf(weights: readonly Digest[]): Promise<Digest[]> {
    const shards: Digest[] = []
    for (const digest of weights) {
      const index = await readIndex(join(this.#directory, hexOf(digest))).catch(() => undefined)
      shards.push(...(index?.shards ?? []).map((shard) => shard.digest))
    }
    return shards
  }
}
