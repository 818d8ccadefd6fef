import { createHash, type Hash } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { type Digest, fromHex } from '../core/digest.ts'
import { fileError } from '../model/whole-file.ts'
import { BLOCK_BYTES } from './artifact.ts'
import { syncDirectory } from './private-file.ts'

/** A download on its way: `<path>.part`, hashed as it grows. */
export class PartFile {
  readonly #target: string
  readonly #file: FileHandle
  #hash: Hash = createHash('sha256')
  #size = 0
  /** Of the newest bytes. */
  #writing: Promise<void> = Promise.resolve()

  private constructor(target: string, file: FileHandle) {
    this.#target = target
    this.#file = file
  }

  /** Opens what an earlier attempt left, or begins. @throws TapestryError NOT_FOUND for the directory */
  static async open(target: string): Promise<PartFile> {
    // A link in its place would lead the writes elsewhere.
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW
    const part = new PartFile(target, await guarded(target, () => open(`${target}.part`, flags, 0o600)))
    await part.#hashWhatIsThere()
    return part
  }

  /** Bytes that have arrived. */
  get size(): number {
    return this.#size
  }

  /**
   * Takes a block, which must stay as it is until the next call has returned: while it is written, the next one is
   * received and hashed. {@link settle} waits for the last.
   * @throws TapestryError DISK_FULL
   */
  async append(block: Uint8Array): Promise<void> {
    this.#hash.update(block)
    await this.#writing
    this.#writing = this.#write(block, this.#size)
    // The next call, or settle, tells.
    this.#writing.catch(() => undefined)
    this.#size += block.byteLength
  }

  /** Waits until everything is written. @throws TapestryError DISK_FULL */
  async settle(): Promise<void> {
    await this.#writing
  }

  /** Of what has arrived. */
  digest(): Digest {
    return fromHex(this.#hash.copy().digest('hex'))
  }

  /** Forgets what has arrived. */
  async restart(): Promise<void> {
    await this.#writing.catch(() => undefined)
    this.#writing = Promise.resolve()
    await this.#file.truncate(0)
    this.#hash = createHash('sha256')
    this.#size = 0
  }

  /** Puts the file in its place, for good. */
  async finish(): Promise<void> {
    await this.settle()
    await guarded(this.#target, () => this.#file.sync())
    await rename(`${this.#target}.part`, this.#target)
    await syncDirectory(dirname(this.#target))
  }

  async discard(): Promise<void> {
    await rm(`${this.#target}.part`, { force: true })
  }

  async close(): Promise<void> {
    await this.#writing.catch(() => undefined)
    await this.#file.close()
  }

  async #write(block: Uint8Array, position: number): Promise<void> {
    for (let written = 0; written < block.byteLength; ) {
      const write = () => this.#file.write(block, written, null, position + written)
      written += (await guarded(this.#target, write)).bytesWritten
    }
  }

  async #hashWhatIsThere(): Promise<void> {
    const buffer = Buffer.allocUnsafe(BLOCK_BYTES)
    for (;;) {
      const { bytesRead } = await this.#file.read(buffer, 0, buffer.length, this.#size)
      if (bytesRead === 0) return
      this.#hash.update(buffer.subarray(0, bytesRead))
      this.#size += bytesRead
    }
  }
}

async function guarded<T>(path: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action()
  } catch (cause) {
    throw fileError(path, cause)
  }
}
