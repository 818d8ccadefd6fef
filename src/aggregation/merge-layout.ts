import { open } from 'node:fs/promises'
import { TapestryError } from '../core/error.ts'
import { inNameOrder, readHeader, type SafetensorsHeader, type TensorEntry } from '../model/safetensors.ts'
import { checkTensors } from '../model/schema.ts'
import { elementCount } from '../model/tensor.ts'

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

/** Where a file keeps the elements. A canonical file has one run. */
export type Layout = { readonly path: string; readonly runs: readonly Run[] }

/** Bytes of an F32 element. */
export const ELEMENT_BYTES = 4

/** The header of an F32 safetensors file. @throws TapestryError NOT_FOUND; DATA_INVALID when malformed or not all F32. */
export async function readFloatHeader(path: string): Promise<SafetensorsHeader> {
  try {
    return await parseFloatHeader(path)
  } catch (cause) {
    throw mergeError(path, cause)
  }
}

async function parseFloatHeader(path: string): Promise<SafetensorsHeader> {
  const file = await open(path, 'r')
  try {
    const header = await readHeader(file)
    if (!header.ok) throw new TapestryError('DATA_INVALID', `${path}: ${header.rejection.detail}`)
    for (const { name, dtype } of header.value.tensors.values()) {
      if (dtype !== 'F32') {
        throw new TapestryError('DATA_INVALID', `${path}: tensor ${JSON.stringify(name)} is ${dtype}, not F32`)
      }
    }
    return header.value
  } finally {
    await file.close()
  }
}

/** Where the file at `path` keeps the elements of a model. */
export function layoutOf(path: string, header: SafetensorsHeader): Layout {
  const runs: Run[] = []
  let first = 0
  for (const { shape, begin } of inNameOrder<TensorEntry>([...header.tensors.values()])) {
    const count = elementCount(shape)
    if (count > 0) appendRun(runs, { first, count, position: begin })
    first += count
  }
  return { path, runs }
}

function appendRun(runs: Run[], run: Run): void {
  const last = runs.at(-1)
  if (last !== undefined && last.position + last.count * ELEMENT_BYTES === run.position) {
    runs[runs.length - 1] = { ...last, count: last.count + run.count }
  } else {
    runs.push(run)
  }
}

/**
 * Where a delta keeps the elements of the model that `base` describes.
 * @throws TapestryError NOT_FOUND; DATA_INVALID when malformed or when its tensors differ from those of the base
 */
export async function readDeltaLayout(path: string, base: SafetensorsHeader): Promise<Layout> {
  const header = await readFloatHeader(path)
  const verdict = checkTensors(header, [...base.tensors.values()])
  if (!verdict.ok) throw new TapestryError('DATA_INVALID', `${path}: ${verdict.rejection.detail}`)
  return layoutOf(path, header)
}

/** A system error as one of ours: NOT_FOUND, DISK_FULL or DATA_INVALID; anything else as it is. */
export function mergeError(path: string, cause: unknown): unknown {
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
  if (code === 'ENOENT') return new TapestryError('NOT_FOUND', `no such file or directory: ${path}`, { cause })
  if (code === 'ENOSPC') return new TapestryError('DISK_FULL', `no space left to write ${path}`, { cause })
  if (code === 'EISDIR') return new TapestryError('DATA_INVALID', `${path} is a directory`, { cause })
  return cause
}
