import { open } from 'node:fs/promises'
import { assertNever } from '../core/assert.ts'
import type { Codec } from '../core/codec.ts'
import { TapestryError } from '../core/error.ts'
import { inNameOrder, readHeader, type SafetensorsHeader, type TensorEntry } from '../model/safetensors.ts'
import { elementCount } from '../model/tensor.ts'
import { CODEC_KEY, checkEncoded, INDICES, SCALES, VALUES } from '../model/update-codec/encoded-layout.ts'
import type { WeightFiles } from '../model/weight-index.ts'

/**
 * The elements of a model are numbered through its tensors in order of name: the order of a
 * canonical file. A run is a stretch of that numbering that lies in one piece in a file.
 */
export type Run = {
  /** Number of its file among those of the layout. */
  readonly file: number
  /** Number of the first element. */
  readonly first: number
  /** Count of elements, at least 1. */
  readonly count: number
  /** Position in the file of the first element, in bytes. */
  readonly position: number
}

/** A run of int8 steps: one tensor, whose blocks are counted from its beginning. */
export type SteppedRun = Run & { readonly scales: number }

/** A tensor of which a file keeps `kept` values: positions of the first index and of the first value. */
export type SparseRun = Run & { readonly indices: number; readonly kept: number }

/** Where files keep the elements, and how: one, or the shards of F32 weights. A canonical F32 file has one run. */
export type Layout = { readonly files: WeightFiles } & (
  | { readonly codec: 'f32' | 'bf16'; readonly runs: readonly Run[] }
  | { readonly codec: 'int8'; readonly block: number; readonly runs: readonly SteppedRun[] }
  | { readonly codec: 'topk'; readonly runs: readonly SparseRun[] }
)

/** Bytes of an F32 element. */
export const ELEMENT_BYTES = 4
const BF16_BYTES = 2

/** The header of an F32 safetensors file. @throws TapestryError NOT_FOUND; DATA_INVALID when malformed or not all F32. */
export async function readFloatHeader(path: string): Promise<SafetensorsHeader> {
  const header = await readAnyHeader(path)
  for (const { name, dtype } of header.tensors.values()) {
    if (dtype === 'F32') continue
    throw new TapestryError('DATA_INVALID', `${path}: tensor ${JSON.stringify(name)} is ${dtype}, not F32`)
  }
  return header
}

async function readAnyHeader(path: string): Promise<SafetensorsHeader> {
  try {
    const file = await open(path, 'r')
    try {
      const header = await readHeader(file)
      if (header.ok) return header.value
      throw new TapestryError('DATA_INVALID', `${path}: ${header.rejection.detail}`)
    } finally {
      await file.close()
    }
  } catch (cause) {
    throw mergeError(path, cause)
  }
}

/** A model's tensors and metadata, wherever they are. */
export type Model = Pick<SafetensorsHeader, 'tensors' | 'metadata'>

/** F32 weights, in one file or in shards. Metadata are those of the first. */
export type OpenedWeights = { readonly model: Model; readonly layout: Layout }

/** @throws TapestryError NOT_FOUND; DATA_INVALID when a file is malformed or not all F32, or when two hold the same tensor */
export async function openWeights(files: WeightFiles): Promise<OpenedWeights> {
  const headers: SafetensorsHeader[] = []
  for (const path of files) headers.push(await readFloatHeader(path))
  const tensors = new Map<string, TensorEntry & { readonly file: number }>()
  for (const [file, header] of headers.entries()) {
    for (const [name, entry] of header.tensors) {
      if (tensors.has(name)) {
        throw new TapestryError('DATA_INVALID', `${files[file]}: another shard holds ${JSON.stringify(name)} too`)
      }
      tensors.set(name, { ...entry, file })
    }
  }
  const model = { tensors, metadata: headers[0]?.metadata ?? new Map() }
  const place = (name: string) => ({ file: tensors.get(name)?.file ?? 0, position: requireTensor(model, name).begin })
  return { model, layout: { files, codec: 'f32', runs: joined(runsOf(model, place), ELEMENT_BYTES) } }
}

/** Where the F32 file at `path` keeps the elements of a model. */
export function layoutOf(path: string, header: Model): Layout {
  return { files: [path], codec: 'f32', runs: joined(runsOf(header, placesIn(header)), ELEMENT_BYTES) }
}

/** For messages: the first file of a layout. */
export function nameOf({ files }: Layout): string {
  return files[0] ?? ''
}

type Place = { readonly file: number; readonly position: number }
type NamedRun = Run & { readonly name: string }

/** Places in a single file; its tensors may have names of their own. */
function placesIn(header: Model, prefix = ''): (name: string) => Place {
  return (name) => ({ file: 0, position: requireTensor(header, prefix + name).begin })
}

/** The tensors of a model, in order of name, as runs. */
function runsOf({ tensors }: Model, placeOf: (name: string) => Place): NamedRun[] {
  const runs: NamedRun[] = []
  let first = 0
  for (const { name, shape } of inNameOrder<TensorEntry>([...tensors.values()])) {
    const count = elementCount(shape)
    if (count > 0) runs.push({ name, first, count, ...placeOf(name) })
    first += count
  }
  return runs
}

/** Runs that lie behind each other in a file as one. */
function joined(runs: readonly Run[], width: number): Run[] {
  const result: Run[] = []
  for (const { file, first, count, position } of runs) {
    const last = result.at(-1)
    if (last?.file === file && last.position + last.count * width === position) {
      result[result.length - 1] = { ...last, count: last.count + count }
    } else {
      result.push({ file, first, count, position })
    }
  }
  return result
}

function requireTensor({ tensors }: Model, name: string): TensorEntry {
  const entry = tensors.get(name)
  if (entry === undefined) throw new TapestryError('INTERNAL', `the tensor ${JSON.stringify(name)} has no place`)
  return entry
}

/**
 * Where a delta keeps the elements of the model that `base` describes.
 * @throws TapestryError NOT_FOUND; DATA_INVALID when malformed, of another codec, or of other tensors than those of the base
 */
export async function readDeltaLayout(path: string, base: Model, codec: Codec): Promise<Layout> {
  const header = await readAnyHeader(path)
  const { tensors, metadata } = header
  const verdict = checkEncoded({ tensors, codec: metadata.get(CODEC_KEY) }, codec, [...base.tensors.values()])
  if (!verdict.ok) throw new TapestryError('DATA_INVALID', `${path}: ${verdict.rejection.detail}`)
  const files = [path]
  switch (codec.name) {
    case 'f32':
      return layoutOf(path, header)
    case 'bf16':
      return { files, codec: 'bf16', runs: joined(runsOf(base, placesIn(header)), BF16_BYTES) }
    case 'int8': {
      const runs = runsOf(base, placesIn(header, VALUES))
      const { block } = codec.parameters
      const scales = placesIn(header, SCALES)
      return {
        files,
        codec: 'int8',
        block,
        runs: runs.map(({ name, ...run }) => ({ ...run, scales: scales(name).position })),
      }
    }
    case 'topk': {
      const runs = runsOf(base, placesIn(header, VALUES))
      return {
        files,
        codec: 'topk',
        runs: runs.map(({ name, ...run }) => sparseRun(run, requireTensor(header, INDICES + name))),
      }
    }
    default:
      return assertNever(codec)
  }
}

function sparseRun(run: Run, { begin, shape }: TensorEntry): SparseRun {
  return { ...run, indices: begin, kept: elementCount(shape) }
}

/** A system error as one of ours: NOT_FOUND, DISK_FULL or DATA_INVALID; anything else as it is. */
export function mergeError(path: string, cause: unknown): unknown {
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
  if (code === 'ENOENT') return new TapestryError('NOT_FOUND', `no such file or directory: ${path}`, { cause })
  if (code === 'ENOSPC') return new TapestryError('DISK_FULL', `no space left to write ${path}`, { cause })
  if (code === 'EISDIR') return new TapestryError('DATA_INVALID', `${path} is a directory`, { cause })
  return cause
}
