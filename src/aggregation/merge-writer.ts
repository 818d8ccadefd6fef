import { randomUUID } from 'node:crypto'
import { open, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { TapestryError } from '../core/error.ts'
import { encodeHeader, type TensorEntry } from '../model/safetensors.ts'
import { contentsOf, shardPaths, shardsOf } from '../model/weight-index.ts'
import { type BlockShape, sumCount, sumsOf } from './block-layout.ts'
import type { MergeResult, WrittenFile } from './merge.ts'
import { ELEMENT_BYTES, type Model, mergeError, nameOf } from './merge-layout.ts'
import { threadsFor } from './merge-pass.ts'
import type { MergeSources } from './merge-sources.ts'
import { addSpans, type CombineRule, type MergeTask, type OptimizerTask, sharedWork } from './merge-task.ts'
import { runWorkers, type Watch } from './merge-workers.ts'
import type { TargetFile } from './target.ts'

/** What is to be written, once everything has been decided. */
export type Writing = Watch & {
  readonly out: string
  readonly shardBytes: number | undefined
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

/** A file in the making: what it will be, and where it is until then. */
type Part = { readonly file: WrittenFile; readonly header: Uint8Array; readonly target: TargetFile }

/** Folds and writes the merged model; every file appears whole and synced, or none at all. @throws as the merges do */
export async function writeMerge(sources: MergeSources, writing: Writing): Promise<MergeResult> {
  const parts = partsOf(sources.model, writing)
  try {
    for (const part of parts) await create(part)
    const sums = await foldInWorkers(
      parts.map(({ target }) => target),
      sources,
      writing,
    )
    const result = statistics(sums, sources)
    for (const { target } of parts) await sync(target.path)
    for (const { target, file } of parts) await install(target.path, file.path)
    return { ...result, files: parts.map(({ file }) => file) }
  } catch (cause) {
    for (const { target } of parts) await rm(target.path, { force: true })
    throw mergeError(writing.out, cause)
  }
}

/** The files of the merged model: canonical, each with the metadata of the base. */
function partsOf({ tensors, metadata }: Model, { out, shardBytes }: Writing): Part[] {
  const shards = shardsOf<TensorEntry>([...tensors.values()], shardBytes ?? Number.POSITIVE_INFINITY)
  const paths = shardPaths(out, shards.length)
  let first = 0
  return shards.map((specs, index) => {
    const path = paths[index] ?? out
    const header = encodeHeader(specs, Object.fromEntries(metadata))
    const contents = contentsOf(specs)
    const target = { path: temporaryFor(path), first, position: header.byteLength }
    first += contents.tensorBytes / ELEMENT_BYTES
    return { file: { path, ...contents }, header, target }
  })
}

async function create({ file, header, target }: Part): Promise<void> {
  const created = await open(target.path, 'wx')
  try {
    await created.writeFile(header)
    await created.truncate(header.byteLength + file.tensorBytes)
  } finally {
    await created.close()
  }
}

/** A name beside `path` for its unfinished bytes. */
export function temporaryFor(path: string): string {
  return join(dirname(path), `.${basename(path)}.${randomUUID()}.tmp`)
}

/** Gives an unfinished file that has been synced its name. */
export async function install(temporary: string, path: string): Promise<void> {
  await rename(temporary, path)
  await sync(dirname(path))
}

/** Makes durable what a file, or a directory, holds. */
export async function sync(path: string): Promise<void> {
  const opened = await open(path, 'r')
  await opened.sync().finally(() => opened.close())
}

async function foldInWorkers(
  out: readonly TargetFile[],
  { base, deltas, elements }: MergeSources,
  { rule, optimizer, shape = BLOCK, threads, ...watch }: Writing,
): Promise<Float64Array> {
  const width = sumCount(deltas.length)
  const { spans, ...work } = sharedWork(elements, width)
  const task: MergeTask = { kind: 'merge', layouts: [base, ...deltas], rule, optimizer, shape, out, ...work }
  await runWorkers(task, Math.min(threads ?? threadsFor(task), spans), watch)
  return addSpans(work, width)
}

/** @throws TapestryError DATA_INVALID when any of the sums shows a value that is not finite */
function statistics(sums: Float64Array, { deltas }: MergeSources): Omit<MergeResult, 'files'> {
  const norms = deltas.map((_, i) => Math.sqrt(sums[sumsOf(i)]!))
  const bad = deltas.find((_, i) => !Number.isFinite(norms[i]!))
  if (bad !== undefined) throw new TapestryError('DATA_INVALID', `${nameOf(bad)} holds a value that is not finite`)
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
