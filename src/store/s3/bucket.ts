import { Readable } from 'node:stream'
import {
  DeleteObjectCommand,
  GetObjectCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  type S3Client,
} from '@aws-sdk/client-s3'
import { TapestryError } from '../../core/error.ts'
import { bucketFault, statusOf, whileWorking } from './fault.ts'
import type { S3Location } from './location.ts'

/** An object of a bucket. `modified`: milliseconds since the epoch, which servers round down to a second. */
export type S3Object = { readonly key: string; readonly size: number; readonly modified: number }

/** Of those servers that also keep a checksum beside the bytes. Base64. */
export type Content = { readonly bytes: Uint8Array; readonly sha256: string }

/**
 * What keys hold, below the prefix of the location. Every failure of the bucket itself is UNAVAILABLE.
 * Not called Bucket: the compiler would rename the fields of that name in what it returns.
 */
export class S3Bucket {
  readonly client: S3Client
  readonly location: S3Location

  constructor(client: S3Client, location: S3Location) {
    this.client = client
    this.location = location
  }

  /** What commands name an object by. */
  at(key: string): { readonly Bucket: string; readonly Key: string } {
    return { Bucket: this.location.bucket, Key: this.location.prefix + key }
  }

  /** Undefined when there is no such object in a bucket that is there. */
  async find(key: string): Promise<S3Object | undefined> {
    return this.ask(async () => {
      try {
        const found = await this.client.send(new HeadObjectCommand(this.at(key)))
        return { key, size: found.ContentLength ?? 0, modified: found.LastModified?.getTime() ?? 0 }
      } catch (error) {
        if (statusOf(error) !== 404) throw error
        // To HEAD a bucket that has gone answers as a missing object does.
        await this.#ensureThere()
        return undefined
      }
    })
  }

  /** The bytes from `start` on. @throws TapestryError NOT_FOUND; DATA_INVALID when the object ends before `start`. */
  async read(key: string, start: number): Promise<Readable> {
    return this.ask(async () => {
      try {
        const range = start === 0 ? {} : { Range: `bytes=${start}-` }
        const { Body: body } = await this.client.send(new GetObjectCommand({ ...this.at(key), ...range }))
        return body instanceof Readable ? body : Readable.from([])
      } catch (error) {
        if (isNamed(error, 'NoSuchKey')) throw new TapestryError('NOT_FOUND', `there is no object ${key}`)
        if (statusOf(error) === 416) throw new TapestryError('DATA_INVALID', `the object ${key} was cut short`)
        throw error
      }
    })
  }

  /**
   * Writes an object at once; the server compares it with its checksum.
   * @param replace whether one that is there is replaced.
   * @returns false when there is one and it was not to be replaced.
   */
  async write(key: string, { bytes, sha256 }: Content, replace: boolean): Promise<boolean> {
    return this.ask(async () => {
      const condition = replace ? {} : { IfNoneMatch: '*' }
      const put = {
        ...this.at(key),
        ...condition,
        Body: bytes,
        ContentLength: bytes.byteLength,
        ChecksumSHA256: sha256,
      }
      try {
        await this.client.send(new PutObjectCommand(put))
        return true
      } catch (error) {
        if (wasThere(error)) return false
        throw error
      }
    })
  }

  /** Deletes an object. Harmless when there is none. @param withinMs after so long it is given up, done or not. */
  async remove(key: string, withinMs?: number): Promise<void> {
    const options = withinMs === undefined ? {} : { abortSignal: AbortSignal.timeout(withinMs) }
    await this.ask(() => this.client.send(new DeleteObjectCommand(this.at(key)), options))
  }

  /** The objects whose keys begin with `beginning`, in the order of their keys. */
  async *list(beginning: string): AsyncGenerator<S3Object> {
    const { bucket, prefix } = this.location
    let token: string | undefined
    do {
      const page = await this.ask(() =>
        this.client.send(
          new ListObjectsV2Command({ Bucket: bucket, Prefix: prefix + beginning, ContinuationToken: token }),
        ),
      )
      for (const { Key: key = '', Size: size = 0, LastModified: modified } of page.Contents ?? []) {
        yield { key: key.slice(prefix.length), size, modified: modified?.getTime() ?? 0 }
      }
      token = page.IsTruncated ? page.NextContinuationToken : undefined
    } while (token !== undefined)
  }

  /** @throws the client's error, as it is. */
  async #ensureThere(): Promise<void> {
    try {
      await this.client.send(new HeadBucketCommand({ Bucket: this.location.bucket }))
    } catch (error) {
      throw statusOf(error) === 404 ? whileWorking('missing', error) : error
    }
  }

  /** Runs what asks the server, and says what its failures mean. @throws TapestryError UNAVAILABLE; NOT_FOUND for an upload in parts that has ended. */
  async ask<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      if (error instanceof TapestryError) throw error
      if (isNamed(error, 'NoSuchUpload')) throw new TapestryError('NOT_FOUND', 'this upload in parts has ended')
      // What is left is a refusal of one request, such as bytes that were damaged on their way: another attempt may do.
      throw whileWorking(bucketFault(error) ?? 'away', error)
    }
  }
}

/** A conditional write lost to another writer, before it or at the same moment. */
export function wasThere(error: unknown): boolean {
  return statusOf(error) === 412 || statusOf(error) === 409
}

function isNamed(error: unknown, name: string): boolean {
  return error instanceof Error && error.name === name
}
