import { open } from 'node:fs/promises'
import { assertNever } from '../core/assert.ts'
import type { Codec } from '../core/codec.ts'
import { TapestryError } from '../core/error.ts'
import { inNameOrder, readHeader, type SafetensorsHeader, type TensorEntry } from '../model/safetensors.ts'
import { elementCount } from '../model/tensor.ts'
import { CODEC_KEY, checkEncoded, INDICES, SCALES, VALUES } from '../model/update-codec/encoded-layout.ts'

/**
 * The elements of a model are numbered through its tensors in order of name: the order of a
 * canonical file. A run is a stretch of that numbering that lies in one piece in a file.
 */
export type Run = {
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

/** Where a file keeps the elements, and how. A canonical F32 file has one run. */
export type Layout = { readonly path: string } & (
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

/** Where the F32 file at `path` keeps the elements of a model. */
export function layoutOf(path: string, header: SafetensorsHeader): Layout {
  const runs = joined(
    runsOf(header, (name) => requireTensor(header, name).begin),
    ELEMENT_BYTES,
  )
  return { path, codec: 'f32', runs }
}

type NamedRun = Run & { readonly name: string }

/** The tensors of a model, in order of name, as runs. */
function runsOf({ tensors }: SafetensorsHeader, positionOf: (name: string) => number): NamedRun[] {
  const runs: NamedRun[] = []
  let first = 0
  for (const { name, shape } of inNameOrder<TensorEntry>([...tensors.values()])) {
    const count = elementCount(shape)
    if (count > 0) runs.push({ name, first, count, position: positionOf(name) })
    first += count
  }
  return runs
}

/** Runs that lie behind each other in the file as one. */
function joined(runs: readonly Run[], width: number): Run[] {
  const result: Run[] = []
  for (const { first, count, position } of runs) {
    const last = result.at(-1)
    if (last !== undefined && last.position + last.count * width === position) {
      result[result.length - 1] = { ...last, count: last.count + count }
    } else {
      result.push({ first, count, position })
    }
  }
  return result
}

function requireTensor({ tensors }: SafetensorsHeader, name: string): TensorEntry {
  const entry = tensors.get(name)
  if (entry === undefined) throw new TapestryError('INTERNAL', `the tensor ${JSON.stringify(name)} has no place`)
  return entry
}

/**
 * Where a delta keeps the elements of the model that `base` describes.
 * @throws TapestryError NOT_FOUND; DATA_INVALID when malformed, of another codec, or of other tensors than those of the base
 */
export async function readDeltaLayout(path: string, base: SafetensorsHeader, codec: Codec): Promise<Layout> {
  const header = await readAnyHeader(path)
  const { tensors, metadata } = header
  const verdict = checkEncoded({ tensors, codec: metadata.get(CODEC_KEY) }, codec, [...base.tensors.values()])
  if (!verdict.ok) throw new TapestryError('DATA_INVALID', `${path}: ${verdict.rejection.detail}`)
  const place = (name: string) => requireTensor(header, name).begin
  switch (codec.name) {
    case 'f32':
      return layoutOf(path, header)
    case 'bf16':
      return { path, codec: 'bf16', runs: joined(runsOf(base, place), BF16_BYTES) }
    case 'int8': {
      const runs = runsOf(base, (name) => place(VALUES + name))
      const { block } = codec.parameters
      return {
        path,
        codec: 'int8',
        block,
        runs: runs.map(({ name, ...run }) => ({ ...run, scales: place(SCALES + name) })),
      }
    }
    case 'topk': {
      const runs = runsOf(base, (name) => place(VALUES + name))
      return {
        path,
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
