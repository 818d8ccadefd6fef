import { canonicalBytes } from '../core/canonical-json.ts'
import { TapestryError } from '../core/error.ts'
import { accept, reject, type Verdict } from '../core/rejection.ts'
import { findHeaderFault, quoted } from './header-text.ts'
import { DTYPE_BYTES, type Dtype, elementCount, type TensorSpec } from './tensor.ts'

/** The header length: u64, little endian. */
export const LENGTH_BYTES = 8
/** A quarter of the reference's limit: room for some 200,000 tensors, and no memory for a hostile file to take. */
export const MAX_HEADER_BYTES = 25_000_000
/** Pads the header with spaces, so that tensor data begins on such a boundary. */
const ALIGNMENT = 8
const METADATA = '__metadata__'

/** A tensor and where its bytes are: positions in the file, `end` exclusive. */
export type TensorEntry = TensorSpec & { readonly begin: number; readonly end: number }

export type SafetensorsHeader = {
  /** In file order: each tensor begins where the one before it ends. */
  readonly tensors: ReadonlyMap<string, TensorEntry>
  readonly metadata: ReadonlyMap<string, string>
  /** Position in the file of the first byte of tensor data. */
  readonly dataBegin: number
  readonly fileSize: number
}

/**
 * Reads the length field.
 * @param prefix at least the first 8 bytes of the file
 * @param most longest header to read, in bytes
 * @returns the position at which the header ends and the data begins
 */
export function parseLength(prefix: Uint8Array, fileSize: number, most = MAX_HEADER_BYTES): Verdict<number> {
  if (!Number.isSafeInteger(fileSize) || fileSize < LENGTH_BYTES || prefix.byteLength < LENGTH_BYTES) {
    return reject('TRUNCATED', 'the file is too short to be safetensors')
  }
  const view = new DataView(prefix.buffer, prefix.byteOffset, prefix.byteLength)
  const length = view.getBigUint64(0, true)
  if (length > most) {
    return reject('MALFORMED', `the header claims ${length} bytes; at most ${most} are read`)
  }
  const end = LENGTH_BYTES + Number(length)
  return end > fileSize ? reject('TRUNCATED', 'the file ends inside its header') : accept(end)
}

/**
 * Parses a safetensors header, stricter than the reference: no repeated, empty or `__proto__`
 * names, no unknown fields, integers up to 2^53-1, tensor data without overlap, hole or rest.
 * @param prefix the first bytes of the file: the length field and the whole header, or more
 * @param fileSize size of the whole file in bytes
 * @returns rejection MALFORMED, or TRUNCATED when the file ends early; never throws
 */
export function parseHeader(prefix: Uint8Array, fileSize: number): Verdict<SafetensorsHeader> {
  const length = parseLength(prefix, fileSize)
  if (!length.ok) return length
  const dataBegin = length.value
  if (prefix.byteLength < dataBegin) return reject('TRUNCATED', 'the header is cut short')
  const members = parseMembers(prefix.subarray(LENGTH_BYTES, dataBegin))
  if (!members.ok) return members
  const metadata = parseMetadata(members.value.get(METADATA))
  if (!metadata.ok) return metadata
  members.value.delete(METADATA)
  const entries = parseEntries(members.value, dataBegin, fileSize)
  if (!entries.ok) return entries
  const tensors = arrange(entries.value, dataBegin, fileSize)
  if (!tensors.ok) return tensors
  return accept({ tensors: tensors.value, metadata: metadata.value, dataBegin, fileSize })
}

function parseMembers(bytes: Uint8Array): Verdict<Map<string, unknown>> {
  let json: unknown
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    if (!text.startsWith('{')) return malformed('the header is not a JSON object')
    const fault = findHeaderFault(text)
    if (fault !== undefined) return malformed(`header: ${fault}`)
    json = JSON.parse(text)
  } catch {
    return malformed('the header is not UTF-8 JSON')
  }
  const members = membersOf(json)
  return members === undefined ? malformed('the header is not a JSON object') : accept(members)
}

/** An object's own members as a Map, where `__proto__` is a name like any other and inherits nothing. */
function membersOf(json: unknown): Map<string, unknown> | undefined {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) return undefined
  return new Map(Object.entries(json))
}

function parseMetadata(json: unknown): Verdict<Map<string, string>> {
  const metadata = new Map<string, string>()
  if (json === undefined) return accept(metadata)
  const members = membersOf(json)
  if (members === undefined) return malformed('the metadata is not an object')
  for (const [key, value] of members) {
    if (typeof value !== 'string') return malformed(`the metadata ${quoted(key)} is not a string`)
    if (!isText(key) || !isText(value)) return malformed(`the metadata ${quoted(key)} is not valid Unicode`)
    metadata.set(key, value)
  }
  return accept(metadata)
}

function parseEntries(
  members: ReadonlyMap<string, unknown>,
  dataBegin: number,
  fileSize: number,
): Verdict<TensorEntry[]> {
  const entries: TensorEntry[] = []
  for (const [name, json] of members) {
    const entry = parseEntry(name, json, dataBegin, fileSize)
    if (!entry.ok) return entry
    entries.push(entry.value)
  }
  return accept(entries)
}

function parseEntry(name: string, json: unknown, dataBegin: number, fileSize: number): Verdict<TensorEntry> {
  if (!isName(name)) return malformed(`${quoted(name)} cannot name a tensor`)
  const fields = membersOf(json)
  if (fields === undefined || fields.size !== 3) return malformed(`tensor ${quoted(name)} has not exactly three fields`)
  const dtype = fields.get('dtype')
  if (!isDtype(dtype)) return malformed(`tensor ${quoted(name)} has an unknown dtype`)
  const shape = integers(fields.get('shape'))
  if (shape === undefined) return malformed(`tensor ${quoted(name)} has a shape that is not sizes`)
  const [begin, end, ...rest] = integers(fields.get('data_offsets')) ?? []
  if (begin === undefined || end === undefined || rest.length > 0 || begin > end) {
    return malformed(`tensor ${quoted(name)} has bad offsets`)
  }
  // Without its zeros, so that an empty tensor cannot claim sizes that no file could hold.
  const largest = elementCount(shape.filter((size) => size > 0)) * DTYPE_BYTES[dtype]
  if (largest > Number.MAX_SAFE_INTEGER) return malformed(`tensor ${quoted(name)} has a shape that overflows`)
  const bytes = elementCount(shape) * DTYPE_BYTES[dtype]
  if (end - begin !== bytes) return malformed(`tensor ${quoted(name)} takes ${bytes} bytes, its offsets differ`)
  if (bytes === 0 && largest > fileSize) return malformed(`the empty tensor ${quoted(name)} has a huge shape`)
  return accept({ name, dtype, shape, begin: dataBegin + begin, end: dataBegin + end })
}

/** Puts tensors in file order and proves that they fill the data exactly. */
function arrange(entries: TensorEntry[], dataBegin: number, fileSize: number): Verdict<Map<string, TensorEntry>> {
  entries.sort((a, b) => a.begin - b.begin || a.end - b.end)
  let position = dataBegin
  for (const { name, begin, end } of entries) {
    if (begin < position) return malformed(`tensor ${quoted(name)} overlaps the one before it`)
    if (begin > position) return malformed(`a hole before tensor ${quoted(name)}`)
    position = end
  }
  if (position > fileSize) return reject('TRUNCATED', `the file has ${fileSize} of ${position} bytes`)
  if (position < fileSize) return malformed(`${fileSize - position} bytes follow the last tensor`)
  return accept(new Map(entries.map((entry) => [entry.name, entry])))
}

const malformed = (detail: string) => reject('MALFORMED', detail)

function isDtype(value: unknown): value is Dtype {
  return typeof value === 'string' && Object.hasOwn(DTYPE_BYTES, value)
}

/** In unicode mode a surrogate matches only when it is not half of a pair. */
function isText(text: string): boolean {
  return !/\p{Surrogate}/u.test(text)
}

function isName(name: string): boolean {
  return name !== '' && name !== '__proto__' && name !== METADATA && isText(name)
}

function integers(json: unknown): number[] | undefined {
  if (!Array.isArray(json)) return undefined
  const values: number[] = []
  for (const value of json) {
    if (!Number.isSafeInteger(value) || value < 0) return undefined
    values.push(value)
  }
  return values
}

/**
 * The canonical header for `specs`: tensors in order of name (by UTF-16 code units) and
 * contiguous, JSON canonical, padded with spaces to 8 bytes: equal inputs give equal bytes.
 * @returns the length field and the header; the data of the tensors follows in order of name
 * @throws TapestryError INVALID_ARGUMENT for bad or repeated names, bad sizes, or a header over 25 MB
 */
export function encodeHeader(
  specs: readonly TensorSpec[],
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array {
  const members: [string, { dtype: Dtype; shape: readonly number[]; data_offsets: number[] }][] = []
  let position = 0
  for (const spec of inNameOrder(specs)) {
    const end = position + byteLength(spec)
    members.push([spec.name, { dtype: spec.dtype, shape: spec.shape, data_offsets: [position, end] }])
    position = end
  }
  const names = new Set(members.map(([name]) => name))
  if (names.size !== members.length) throw new TapestryError('INVALID_ARGUMENT', 'a tensor name is given twice')
  const extra = Object.keys(metadata).length > 0 ? { [METADATA]: metadata } : {}
  return frame(canonicalBytes({ ...extra, ...Object.fromEntries(members) }))
}

/** Specs in the order in which {@link encodeHeader} lays out their data. */
export function inNameOrder<T extends TensorSpec>(specs: readonly T[]): T[] {
  return [...specs].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
}

/** Size of a tensor's data in bytes. @throws TapestryError INVALID_ARGUMENT for a bad name or size. */
export function byteLength({ name, dtype, shape }: TensorSpec): number {
  if (!isName(name)) throw new TapestryError('INVALID_ARGUMENT', `${quoted(name)} cannot name a tensor`)
  const bytes = elementCount(shape) * DTYPE_BYTES[dtype]
  if (integers(shape) === undefined || !Number.isSafeInteger(bytes)) {
    throw new TapestryError('INVALID_ARGUMENT', `tensor ${quoted(name)} cannot have the shape [${shape.join(', ')}]`)
  }
  return bytes
}

function frame(json: Uint8Array): Uint8Array {
  const length = Math.ceil(json.byteLength / ALIGNMENT) * ALIGNMENT
  if (length > MAX_HEADER_BYTES) throw new TapestryError('INVALID_ARGUMENT', `a header of ${length} bytes is too large`)
  const bytes = new Uint8Array(LENGTH_BYTES + length).fill(0x20)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(length), true)
  bytes.set(json, LENGTH_BYTES)
  return bytes
}
