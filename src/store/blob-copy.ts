import { constants, copyFile, link, mkdir, readdir, rename, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { type Digest, fromHex, hexOf } from '../core/digest.ts'
import { hasCode, ifPresent, onDisk } from './durable-file.ts'

/** A blob as a file. */
export type BlobFile = { readonly digest: Digest; readonly bytes: number }

/** Where a whole blob is in a directory of blobs. */
export function blobPath(directory: string, digest: Digest): string {
  const hex = hexOf(digest)
  return join(directory, 'sha256', hex.slice(0, 2), hex)
}

/** The whole blobs of a directory, in the order of their digests. */
export async function listBlobs(directory: string): Promise<readonly BlobFile[]> {
  const found: BlobFile[] = []
  for (const shelf of ((await ifPresent(readdir(join(directory, 'sha256')))) ?? []).sort()) {
    for (const hex of ((await ifPresent(readdir(join(directory, 'sha256', shelf)))) ?? []).sort()) {
      if (!/^[0-9a-f]{64}$/.test(hex)) continue
      const digest = fromHex(hex)
      const there = await ifPresent(stat(blobPath(directory, digest)))
      if (there !== undefined) found.push({ digest, bytes: there.size })
    }
  }
  return found
}

/**
 * Puts a file with a blob's bytes into a directory of blobs: by a hard link where both are on one disk (blobs never change), else by a
 * copy that appears whole. One that is there already, with as many bytes, is left alone.
 * @param find says where the file is; undefined when the blob has gone meanwhile.
 * @param apart always copy, so that the one does not share the other's sectors.
 * @returns false when the blob has gone meanwhile.
 */
export async function copyFileAsBlob(
  find: () => Promise<string | undefined>,
  to: string,
  { digest, bytes }: BlobFile,
  apart: boolean,
): Promise<boolean> {
  const target = blobPath(to, digest)
  if ((await ifPresent(stat(target)))?.size === bytes) return true
  const source = await find()
  if (source === undefined) return false
  await mkdir(dirname(target), { recursive: true })
  const aside = `${target}.part`
  await rm(aside, { force: true })
  try {
    await onDisk(() => (apart ? copyFile(source, aside) : linkOrCopy(source, aside)))
    await rename(aside, target)
    return true
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return false
    throw error
  }
}

async function linkOrCopy(source: string, target: string): Promise<void> {
  try {
    await link(source, target)
  } catch (error) {
    if (!['EXDEV', 'EPERM', 'EMLINK', 'ENOTSUP'].some((code) => hasCode(error, code))) throw error
    await copyFile(source, target, constants.COPYFILE_FICLONE)
  }
}
