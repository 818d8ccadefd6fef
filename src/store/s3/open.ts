import { openBlobs } from '../blobs.ts'
import type { Storage } from '../storage.ts'
import { freeBytesOf } from '../uploads.ts'
import { S3Blobs } from './blobs.ts'
import { S3Bucket } from './bucket.ts'
import { ensureBucket } from './check.ts'
import { s3Client } from './client.ts'
import { Copies } from './copies.ts'
import { type S3Location, s3Text } from './location.ts'
import { Retention } from './retention.ts'

/** What nobody asks for any more may stay an hour longer. */
const TIDY_EVERY_MS = 3_600_000

/**
 * Opens a bucket as a storage of blobs.
 * @param directory of this machine alone: uploads arrive there and copies of blobs are kept. The processes of one machine may share it.
 * @throws TapestryError FAILED_PRECONDITION when the bucket cannot be used as it should be; UNAVAILABLE when nothing answers.
 */
export async function openS3(location: S3Location, directory: string): Promise<Storage> {
  const bucket = new S3Bucket(s3Client(location), location)
  await ensureBucket(bucket)
  const local = await openBlobs(directory)
  const copies = new Copies(local, directory, bucket)
  const retention = new Retention(bucket)
  const blobs = new S3Blobs({ bucket, retention, local, copies })
  setInterval(() => void copies.tidy(), TIDY_EVERY_MS).unref()
  return {
    where: s3Text(location),
    blobs,
    freeBytes: () => freeBytesOf(directory),
    probe: () => ensureBucket(bucket),
    async usage() {
      let [count, bytes] = [0, 0]
      for await (const { size } of retention.old(Number.POSITIVE_INFINITY)) {
        count += 1
        bytes += size
      }
      return { count, bytes }
    },
  }
}
