import { randomUUID } from 'node:crypto'
import { type FileHandle, open, rename, rm } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { TapestryError } from '../core/error.ts'
import { encodeHeader } from '../model/safetensors.ts'
import { type BlockShape, sumCount, sumsOf } from './block-layout.ts'
import type { MergeResult } from './merge.ts'
import { ELEMENT_BYTES, mergeError } from './merge-layout.ts'
import type { MergeSources } from './merge-sources.ts'
import { addSpans, type CombineRule, type MergeTask, type OptimizerTask, sharedWork } from './merge-task.ts'
import { runWorkers, type Watch } from './merge-workers.ts'

/** What is to be written, once everything has been decided. */
export type Writing = Watch & {
  readonly out: string
  readonly rule: CombineRule
  readonly optimizer: OptimizerTask | undefined
  readonly threads: number | undefined
  readonly shape: BlockShape | undefined
}

/**
 * 128 KiB of an input at a time reads as fast as more, and up to 32 of them stay in a second-level
 * or shared cache: 5 MiB a worker, whatever the size of the model and the number of deltas.
 */
const BLOCK: BlockShape = { elements: 32_768, group: 32 }

/** Folds and writes the merged model; it appears whole and synced, or not at all. @throws as the merges do */
export async function writeMerge(sources: MergeSources, writing: Writing): Promise<MergeResult> {
  const temporary = temporaryFor(writing.out)
  try {
    const result = await mergeInto(temporary, sources, writing)
    await install(temporary, writing.out)
    return result
  } catch (cause) {
    await rm(temporary, { force: true })
    throw mergeError(writing.out, cause)
  }
}

/** A name beside `path` for its unfinished bytes. */
export function temporaryFor(path: string): string {
  return join(dirname(path), `.${basename(path)}.${randomUUID()}.tmp`)
}

/** Gives an unfinished file that has been synced its name. */
export async function install(temporary: string, path: string): Promise<void> {
  await rename(temporary, path)
  await syncDirectory(dirname(path))
}

/** Writes and syncs the whole output at `path`. */
async function mergeInto(path: string, sources: MergeSources, writing: Writing): Promise<MergeResult> {
  const { header: model, elements } = sources
  const header = encodeHeader([...model.tensors.values()], Object.fromEntries(model.metadata))
  const bytes = header.byteLength + elements * ELEMENT_BYTES
  const file = await open(path, 'wx')
  try {
    await file.writeFile(header)
    await file.truncate(bytes)
    const sums = await foldInWorkers(path, header.byteLength, sources, writing)
    await file.sync()
    return { ...statistics(sums, sources), bytes }
  } finally {
    await file.close()
  }
}

async function foldInWorkers(
  path: string,
  dataBegin: number,
  { base, deltas, elements }: MergeSources,
  { rule, optimizer, shape = BLOCK, threads, ...watch }: Writing,
): Promise<Float64Array> {
  const width = sumCount(deltas.length)
  const { spans, ...work } = sharedWork(elements, width)
  const task: MergeTask = {
    kind: 'merge',
    layouts: [base, ...deltas],
    rule,
    optimizer,
    shape,
    path,
    dataBegin,
    ...work,
  }
  await runWorkers(task, Math.min(threads ?? Math.min(2, availableParallelism()), spans), watch)
  return addSpans(work, width)
}

/** @throws TapestryError DATA_INVALID when any of the sums shows a value that is not finite */
function statistics(sums: Float64Array, { deltas }: MergeSources): Omit<MergeResult, 'bytes'> {
  const norms = deltas.map((_, i) => Math.sqrt(sums[sumsOf(i)]!))
  const bad = deltas.find((_, i) => !Number.isFinite(norms[i]!))
  if (bad !== undefined) throw new TapestryError('DATA_INVALID', `${bad.path} holds a value that is not finite`)
  const deltaNorm = Math.sqrt(sums[0]!)
  if (!Number.isFinite(deltaNorm) || !Number.isFinite(sums[1]!)) {
    throw new TapestryError('DATA_INVALID', 'a value of the base or of the merge is not finite')
  }
  const dots = deltas.map((_, i) => sums[sumsOf(i) + 1]!)
  const cosines = dots.map((dot, i) => cosine(dot, norms[i]! * deltaNorm))
  const retained = dots.map((dot, i) => (norms[i]! === 0 ? 0 : dot / norms[i]! ** 2))
  return { deltaNorm, norms, cosines, retained }
}

function cosine(dot: number, scale: number): number {
  return scale === 0 ? 0 : Math.max(-1, Math.min(1, dot / scale))
}

async function syncDirectory(path: string): Promise<void> {
  const directory: FileHandle = await open(path, 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}
