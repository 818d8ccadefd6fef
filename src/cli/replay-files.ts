import { join } from 'node:path'
import type { ReplayInput } from '../aggregation/replay.ts'
import { type Digest, hexOf } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import type { Channel } from '../participant/channel.ts'
import { downloadArtifact } from '../participant/download.ts'
import { digestOfFile } from '../participant/file-digest.ts'
import { openBlobs } from '../store/blobs.ts'

/** Gives an input's path, with its bytes proved by their digest. */
export type Fetch = (input: ReplayInput) => Promise<string>

/**
 * Inputs from the blob directory of a coordinator on this machine: read where they are, and hashed.
 * @param elsewhere fetches what is not there: the coordinator may keep its blobs in another storage.
 */
export async function fromDirectory(blobDirectory: string, elsewhere: Fetch): Promise<Fetch> {
  const blobs = await openBlobs(blobDirectory)
  return async (input) => {
    const { digest } = input
    if (!(await blobs.has(digest))) return elsewhere(input)
    const path = await blobs.localPath(digest)
    const found = (await digestOfFile(path)).digest
    if (found === digest) return path
    throw new TapestryError('VERIFICATION_FAILED', `the blob ${digest} is damaged: its bytes have the digest ${found}`)
  }
}

/** Inputs from a coordinator elsewhere, downloaded into a directory. */
export function fromCoordinator(channel: Channel, directory: string): Fetch {
  return async ({ digest, size }) => {
    const path = join(directory, hexOf(digest))
    await downloadArtifact(channel, { digest, size }, path)
    return path
  }
}

/** Fetches every input once. @returns where each is */
export async function fetchInputs(
  inputs: readonly ReplayInput[],
  fetch: Fetch,
  onProgress: (done: number, total: number) => void,
): Promise<(digest: Digest) => Promise<string>> {
  const paths = new Map<Digest, string>()
  const total = inputs.reduce((sum, { size }) => sum + size, 0)
  let done = 0
  for (const input of inputs) {
    if (!paths.has(input.digest)) paths.set(input.digest, await fetch(input))
    done += input.size
    onProgress(done, total)
  }
  return async (digest) => {
    const path = paths.get(digest)
    if (path === undefined) throw new TapestryError('NOT_FOUND', `${digest} was not fetched`)
    return path
  }
}
