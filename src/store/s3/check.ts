import { randomBytes } from 'node:crypto'
import { buffer } from 'node:stream/consumers'
import { ListObjectsV2Command } from '@aws-sdk/client-s3'
import { TapestryError } from '../../core/error.ts'
import type { S3Bucket } from './bucket.ts'
import { atStart, bucketFault, whileWorking } from './fault.ts'
import { s3Text } from './location.ts'
import { contentOf } from './upload.ts'

/** Readiness is asked for every five seconds, and its asker waits no longer. */
const ANSWER_MS = 4_000

/** Whether the bucket answers and may be listed. @throws TapestryError UNAVAILABLE */
export async function checkBucket(bucket: S3Bucket): Promise<void> {
  const fault = await listingFault(bucket, ANSWER_MS)
  if (fault !== undefined) throw whileWorking(fault.fault, fault.error)
}

/**
 * Whether the bucket is one to keep blobs in: it is there, may be listed, written, read and cleared, and keeps its word on
 * conditional writes, which several replicas rely on.
 * @throws TapestryError FAILED_PRECONDITION, or UNAVAILABLE when nothing answers.
 */
export async function ensureBucket(bucket: S3Bucket): Promise<void> {
  const where = s3Text(bucket.location)
  const found = await listingFault(bucket)
  if (found !== undefined) throw atStart(found.fault, where, found.error)
  const key = `probe/${randomBytes(8).toString('hex')}`
  const content = contentOf(randomBytes(32))
  try {
    await bucket.write(key, content, false)
    const again = await bucket.write(key, content, false)
    const read = await buffer(await bucket.read(key, 0))
    await bucket.remove(key)
    if (again) throw unfit(`${where} ignores If-None-Match`, 'use an S3 server with conditional writes')
    if (!read.equals(content.bytes)) throw unfit(`${where} gave other bytes back than were written`, 'check the server')
  } catch (error) {
    if (!(error instanceof TapestryError) || error.code !== 'UNAVAILABLE') throw error
    throw unfit(`${where} may be listed, not written, read and cleared: ${error.message}`, error.hint, error.cause)
  }
}

/** Listing says in its body what is wrong; the answer to HEAD has none. */
async function listingFault({ client, location: { bucket: Bucket, prefix } }: S3Bucket, withinMs?: number) {
  try {
    const options = withinMs === undefined ? {} : { abortSignal: AbortSignal.timeout(withinMs) }
    const page = await client.send(new ListObjectsV2Command({ Bucket, Prefix: prefix, MaxKeys: 1 }), options)
    // Any web server answers; only an S3 server answers with the name.
    return page.Name === Bucket ? undefined : { fault: 'alien' as const, error: undefined }
  } catch (error) {
    return { fault: bucketFault(error) ?? ('alien' as const), error }
  }
}

function unfit(message: string, hint: string | undefined, cause?: unknown): TapestryError {
  return new TapestryError('FAILED_PRECONDITION', message, { cause, ...(hint === undefined ? {} : { hint }) })
}
