import { type Rejection, reject } from '../core/rejection.ts'
import { LENGTH_BYTES, parseHeader, parseLength, type TensorEntry } from './safetensors-header.ts'
import type { Summary, TensorSummary } from './summary.ts'
import type { TensorScan, TensorScans } from './tensor-scan.ts'
import { CODEC_KEY } from './update-codec/encoded-layout.ts'

/**
 * The longest header that is scanned: some 30,000 tensors. Its text is in memory as a whole, once for every upload that
 * has just begun, and a stranger decides how long it is.
 */
export const MAX_SCANNED_HEADER_BYTES = 4 * 2 ** 20

/** The tensor that the next byte belongs to. */
type Open = { readonly entry: TensorEntry; readonly scan: TensorScan; left: number }

type Coming = { readonly entries: Iterator<TensorEntry>; readonly scanOf: (entry: TensorEntry) => TensorScan }

/**
 * Reads a safetensors file once, in pieces as they arrive, and says what is in it. Memory: the header, and what the
 * scans of single tensors keep. Bytes after a fault are ignored.
 */
export class SafetensorsScan {
  readonly #fileSize: number
  readonly #scans: TensorScans
  #prefix = new Uint8Array(LENGTH_BYTES)
  #filled = 0
  /** Position at which the header ends, once the length field has arrived. */
  #headerEnd: number | undefined
  /** The tensors that have not begun yet; undefined before the header has arrived. */
  #coming: Coming | undefined
  #open: Open | undefined
  #tensors: TensorSummary[] = []
  /** As the metadata name it. */
  #codec: string | undefined
  #fault: Rejection | undefined

  /** @param fileSize bytes that will arrive in all. */
  constructor(fileSize: number, scans: TensorScans) {
    this.#fileSize = fileSize
    this.#scans = scans
  }

  push(bytes: Uint8Array): void {
    let at = 0
    while (at < bytes.byteLength && this.#fault === undefined) {
      const rest = at === 0 ? bytes : bytes.subarray(at)
      at += this.#coming === undefined ? this.#takeHeader(rest) : this.#takeData(rest, this.#coming)
    }
  }

  /** What the file holds. Rejections: MALFORMED; TRUNCATED, also when fewer bytes arrived than were said. */
  finish(): Summary {
    if (this.#fault !== undefined) return unreadable(this.#fault)
    if (this.#coming === undefined) return unreadable(this.#headerFault())
    // The last tensor ends here, and those without a byte.
    this.#advance(this.#coming)
    if (this.#open !== undefined) return unreadable(truncated('the file ends inside its data'))
    return {
      kind: 'tensors',
      bytes: this.#fileSize,
      headerBytes: this.#headerEnd ?? 0,
      ...(this.#codec !== undefined && { codec: this.#codec }),
      tensors: this.#tensors,
    }
  }

  /** Why there is no header although everything has arrived. */
  #headerFault(): Rejection {
    if (this.#headerEnd === undefined) return truncated('the file is too short to be safetensors')
    return truncated('the file ends inside its header')
  }

  /** @returns how many bytes were part of the length field or the header. */
  #takeHeader(bytes: Uint8Array): number {
    const fitting = bytes.subarray(0, this.#prefix.byteLength - this.#filled)
    this.#prefix.set(fitting, this.#filled)
    this.#filled += fitting.byteLength
    if (this.#filled < this.#prefix.byteLength) return fitting.byteLength
    if (this.#headerEnd === undefined) this.#readLength()
    if (this.#filled === this.#headerEnd) this.#readHeader()
    return fitting.byteLength
  }

  #readLength(): void {
    const end = parseLength(this.#prefix, this.#fileSize, MAX_SCANNED_HEADER_BYTES)
    if (!end.ok) {
      this.#fault = end.rejection
      return
    }
    this.#headerEnd = end.value
    const prefix = new Uint8Array(end.value)
    prefix.set(this.#prefix)
    this.#prefix = prefix
  }

  #readHeader(): void {
    const header = parseHeader(this.#prefix, this.#fileSize)
    if (header.ok) {
      this.#coming = { entries: header.value.tensors.values(), scanOf: this.#scans(header.value) }
      this.#codec = header.value.metadata.get(CODEC_KEY)
    } else {
      this.#fault = header.rejection
    }
    this.#prefix = new Uint8Array()
  }

  /** @returns how many bytes belong to the tensor that is open. */
  #takeData(bytes: Uint8Array, coming: Coming): number {
    const open = this.#advance(coming)
    if (open === undefined) return bytes.byteLength
    const fitting = bytes.subarray(0, open.left)
    open.scan.push(fitting)
    open.left -= fitting.byteLength
    return fitting.byteLength
  }

  /** Ends tensors that have all their bytes. @returns the one that the next byte belongs to; undefined after the last. */
  #advance({ entries, scanOf }: Coming): Open | undefined {
    while (this.#open === undefined || this.#open.left === 0) {
      if (this.#open !== undefined) this.#end(this.#open)
      const next = entries.next()
      this.#open = next.done
        ? undefined
        : { entry: next.value, scan: scanOf(next.value), left: next.value.end - next.value.begin }
      if (this.#open === undefined) return undefined
    }
    return this.#open
  }

  #end({ entry: { name, dtype, shape }, scan }: Open): void {
    this.#tensors.push({ name, dtype, shape, ...scan.finish() })
  }
}

function truncated(detail: string): Rejection {
  return reject('TRUNCATED', detail).rejection
}

function unreadable(rejection: Rejection): Summary {
  return { kind: 'unreadable', rejection }
}
