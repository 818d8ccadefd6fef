import { createHash } from 'node:crypto'
import { type FileHandle, open } from 'node:fs/promises'
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  ListMultipartUploadsCommand,
  ListPartsCommand,
  type Part,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import { TapestryError } from '../../core/error.ts'
import { type Content, type S3Bucket, wasThere } from './bucket.ts'
import { statusOf } from './fault.ts'

/** In memory twice at most. S3 asks for 5 MiB. */
const PART_BYTES = 8 * 2 ** 20
/** S3 takes no more. */
const MOST_PARTS = 10_000
/** One is read and hashed while the other is on its way. */
const AT_ONCE = 2

/** Where a part of a file begins and ends. */
export type PartSpan = { readonly number: number; readonly start: number; readonly end: number }

type Sent = { readonly PartNumber: number; readonly ETag: string; readonly ChecksumSHA256: string }

/** The parts of a file: the same for every process, so that one may go on where another ended. At least one. */
export function partsOf(size: number): PartSpan[] {
  const wanted = Math.max(PART_BYTES, Math.ceil(size / MOST_PARTS))
  const bytes = Math.ceil(wanted / 2 ** 20) * 2 ** 20
  const count = Math.max(1, Math.ceil(size / bytes))
  return Array.from({ length: count }, (_, index) => ({
    number: index + 1,
    start: index * bytes,
    end: Math.min(size, (index + 1) * bytes),
  }))
}

/** Bytes with their checksum. */
export function contentOf(bytes: Uint8Array): Content {
  return { bytes, sha256: createHash('sha256').update(bytes).digest('base64') }
}

/**
 * Puts a file under a key, in parts when it is large, each with its SHA-256. Parts that an upload which was broken off has left
 * there and that are still the file's are not sent again.
 * Whoever calls it looks afterwards what is there: another process may have been faster, or the upload was cleared away.
 * @param replace whether an object that is there is replaced; otherwise it is left as it is.
 * @throws TapestryError UNAVAILABLE; the parts that arrived stay for the next attempt.
 */
export async function uploadFile(bucket: S3Bucket, key: string, path: string, replace: boolean): Promise<void> {
  const file = await open(path, 'r')
  try {
    const { size } = await file.stat()
    const parts = partsOf(size)
    const [only, second] = parts
    if (only !== undefined && second === undefined) {
      await bucket.write(key, contentOf(await readPart(file, only)), replace)
      return
    }
    await new UploadInParts(bucket, key, file).run(parts, replace)
  } finally {
    await file.close()
  }
}

/** Not called MultipartUpload: the compiler would rename the field of that name in what it sends. */
class UploadInParts {
  readonly #bucket: S3Bucket
  readonly #key: string
  readonly #file: FileHandle

  constructor(bucket: S3Bucket, key: string, file: FileHandle) {
    this.#bucket = bucket
    this.#key = key
    this.#file = file
  }

  async run(parts: readonly PartSpan[], replace: boolean): Promise<void> {
    const begun = await this.#begun()
    const id = begun ?? (await this.#begin())
    try {
      const there = begun === undefined ? new Map<number, Part>() : await this.#there(begun)
      const sent = await this.#send(parts, id, there)
      await this.#finish(id, sent, replace)
    } catch (error) {
      // Another process went on with the same upload and has finished it, or the bucket has cleared it away.
      if (!(error instanceof TapestryError) || error.code !== 'NOT_FOUND') throw error
    }
  }

  /** The newest upload of this key that was broken off; undefined when there is none, or they may not be listed. */
  async #begun(): Promise<string | undefined> {
    const { Bucket, Key } = this.#bucket.at(this.#key)
    const list = new ListMultipartUploadsCommand({ Bucket, Prefix: Key })
    const uploads = await this.#bucket.ask(async () => {
      try {
        return (await this.#bucket.client.send(list)).Uploads ?? []
      } catch (error) {
        // Not everybody grants it, or has it: then each attempt begins anew.
        if (statusOf(error) === 403 || statusOf(error) === 501) return []
        throw error
      }
    })
    const ours = uploads.filter(({ Key: found }) => found === Key)
    const when = ({ Initiated: at }: (typeof ours)[number]) => at?.getTime() ?? 0
    return ours.sort((a, b) => when(b) - when(a))[0]?.UploadId
  }

  async #begin(): Promise<string> {
    const create = new CreateMultipartUploadCommand({ ...this.#bucket.at(this.#key), ChecksumAlgorithm: 'SHA256' })
    const { UploadId: id } = await this.#bucket.ask(() => this.#bucket.client.send(create))
    if (id === undefined) throw new TapestryError('INTERNAL', 'the S3 server began an upload without a name')
    return id
  }

  async #there(id: string): Promise<Map<number, Part>> {
    const there = new Map<number, Part>()
    let marker: string | undefined
    do {
      const list = new ListPartsCommand({ ...this.#bucket.at(this.#key), UploadId: id, PartNumberMarker: marker })
      const page = await this.#bucket.ask(() => this.#bucket.client.send(list))
      for (const part of page.Parts ?? []) there.set(part.PartNumber ?? 0, part)
      marker = page.IsTruncated ? page.NextPartNumberMarker : undefined
    } while (marker !== undefined)
    return there
  }

  async #send(parts: readonly PartSpan[], id: string, there: ReadonlyMap<number, Part>): Promise<readonly Sent[]> {
    const sent: Sent[] = []
    const waiting = [...parts].reverse()
    const sender = async () => {
      for (let part = waiting.pop(); part !== undefined; part = waiting.pop()) {
        sent.push(await this.#sendPart(part, id, there.get(part.number)))
      }
    }
    // After a failure of one the other ends with its part: nothing reads the file when it is closed.
    const ended = await Promise.allSettled(
      Array.from({ length: AT_ONCE }, () =>
        sender().catch((error: unknown) => {
          waiting.length = 0
          throw error
        }),
      ),
    )
    for (const end of ended) if (end.status === 'rejected') throw end.reason
    return sent.sort((a, b) => a.PartNumber - b.PartNumber)
  }

  async #sendPart(part: PartSpan, id: string, there: Part | undefined): Promise<Sent> {
    const content = contentOf(await readPart(this.#file, part))
    const kept = there === undefined ? undefined : sameBytes(there, content)
    const ETag = kept ?? (await this.#putPart(part, id, content))
    return { PartNumber: part.number, ETag, ChecksumSHA256: content.sha256 }
  }

  async #putPart({ number }: PartSpan, id: string, { bytes, sha256 }: Content): Promise<string> {
    const put = { ...this.#bucket.at(this.#key), UploadId: id, PartNumber: number }
    const body = { Body: bytes, ContentLength: bytes.byteLength, ChecksumSHA256: sha256 }
    const { ETag: tag } = await this.#bucket.ask(() =>
      this.#bucket.client.send(new UploadPartCommand({ ...put, ...body })),
    )
    if (tag === undefined) throw new TapestryError('INTERNAL', 'the S3 server took a part without a tag')
    return tag
  }

  async #finish(id: string, parts: readonly Sent[], replace: boolean): Promise<void> {
    const what = { ...this.#bucket.at(this.#key), UploadId: id, MultipartUpload: { Parts: [...parts] } }
    const complete = new CompleteMultipartUploadCommand({ ...what, ...(replace ? {} : { IfNoneMatch: '*' }) })
    await this.#bucket.ask(async () => {
      try {
        await this.#bucket.client.send(complete)
      } catch (error) {
        if (!wasThere(error)) throw error
        // Another upload of the same bytes was faster.
        await this.#abort(id)
      }
    })
  }

  /** What is left over is paid for; whoever did not succeed in this leaves it to the bucket's own rule. */
  async #abort(id: string): Promise<void> {
    const abort = new AbortMultipartUploadCommand({ ...this.#bucket.at(this.#key), UploadId: id })
    await this.#bucket.client.send(abort).catch(() => undefined)
  }
}

/** The tag of a part that holds these bytes. Servers that list no checksum have an MD5 for a tag. */
function sameBytes({ ETag: tag, ChecksumSHA256: sha256, Size: size }: Part, content: Content): string | undefined {
  if (tag === undefined || size !== content.bytes.byteLength) return undefined
  const same =
    sha256 === undefined
      ? tag.replaceAll('"', '') === createHash('md5').update(content.bytes).digest('hex')
      : sha256 === content.sha256
  return same ? tag : undefined
}

async function readPart(file: FileHandle, { start, end }: PartSpan): Promise<Uint8Array> {
  const bytes = new Uint8Array(end - start)
  for (let filled = 0; filled < bytes.byteLength; ) {
    const { bytesRead } = await file.read(bytes, filled, bytes.byteLength - filled, start + filled)
    if (bytesRead === 0) throw new TapestryError('DATA_INVALID', 'a file became shorter while it was stored')
    filled += bytesRead
  }
  return bytes
}
