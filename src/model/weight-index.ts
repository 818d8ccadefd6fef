import { type FileHandle, open } from 'node:fs/promises'
import { z } from 'zod'
import { canonicalBytes } from '../core/canonical-json.ts'
import { TapestryError } from '../core/error.ts'
import { compareText } from '../core/order.ts'
import type { ReleasedFile } from './manifest.ts'
import { digestSchema, parseCanonical } from './parsing.ts'
import { byteLength, inNameOrder, readHeader } from './safetensors.ts'
import type { TensorSpec } from './tensor.ts'
import { fileError } from './whole-file.ts'

/** Where a checkpoint keeps weights that fit into one file. */
export const WEIGHTS_FILE = 'model.safetensors'
/** Where it says which shards hold those that do not. */
export const WEIGHTS_INDEX = 'model.safetensors.index.json'

/** Files whose tensors together are a model's weights: one, or its shards in order. Paths. */
export type WeightFiles = readonly string[]

/** One file of several, and the tensors in it. */
export type Shard = ReleasedFile & { readonly tensors: readonly string[] }

/**
 * What names sharded weights: a Hugging Face index whose metadata also hold the digest of every shard, so that the digest
 * of the index stands for all bytes of the weights.
 */
export type WeightIndex = {
  /** In order. */
  readonly shards: readonly Shard[]
  /** Bytes of the tensors of all shards, without headers. */
  readonly tensorBytes: number
}

/** Room for some 200,000 tensors, like the header of a file. */
const MAX_INDEX_BYTES = 25_000_000
/** How every index begins, being canonical. No safetensors file does: as a header's length it would be far too large. */
const BEGINNING = Buffer.from('{"metada')
const SUFFIX = '.safetensors'
const SHARD = /^model-\d{5}-of-\d{5}\.safetensors$/

/**
 * Distributes tensors over shards: in order of name, each into the last shard unless it would grow beyond `shardBytes`. A
 * tensor that is larger by itself gets a shard of its own. Headers are not counted, as by transformers.
 * @returns at least one shard
 */
export function shardsOf<T extends TensorSpec>(specs: readonly T[], shardBytes: number): T[][] {
  let last: T[] = []
  const shards = [last]
  let room = shardBytes
  for (const spec of inNameOrder(specs)) {
    const bytes = byteLength(spec)
    if (bytes > room && last.length > 0) {
      last = []
      shards.push(last)
      room = shardBytes
    }
    last.push(spec)
    room -= bytes
  }
  return shards
}

/** Names of `count` shards beside `path`, such as model-00001-of-00002.safetensors; the path itself for a single one. */
export function shardPaths(path: string, count: number): string[] {
  if (count === 1) return [path]
  const stem = path.endsWith(SUFFIX) ? path.slice(0, -SUFFIX.length) : path
  const digits = (n: number) => `${n}`.padStart(5, '0')
  return Array.from({ length: count }, (_, i) => `${stem}-${digits(i + 1)}-of-${digits(count)}${SUFFIX}`)
}

/**
 * Those of a checkpoint's files that hold its weights, in order: one, or every shard.
 * @throws TapestryError VERIFICATION_FAILED when there are none, or some are missing
 */
export function weightFilesAmong(files: readonly ReleasedFile[]): readonly ReleasedFile[] {
  const single = files.find(({ path }) => path === WEIGHTS_FILE)
  if (single !== undefined) return [single]
  const shards = files.filter(({ path }) => SHARD.test(path)).sort((a, b) => compareText(a.path, b.path))
  const expected = shardPaths(WEIGHTS_FILE, shards.length)
  if (shards.length > 1 && shards.every(({ path }, place) => path === expected[place])) return shards
  throw new TapestryError('VERIFICATION_FAILED', 'the checkpoint has no weights, or not every shard of them')
}

/** Whether a file of a checkpoint is its weights, their index, or a shard. */
export function isWeights(path: string): boolean {
  return path === WEIGHTS_FILE || path === WEIGHTS_INDEX || SHARD.test(path)
}

/** What names a checkpoint's weights: their file, or the index of their shards; undefined when it lists neither. */
export function weightsAmong(files: readonly ReleasedFile[]): ReleasedFile | undefined {
  return files.find(({ path }) => path === WEIGHTS_FILE) ?? files.find(({ path }) => path === WEIGHTS_INDEX)
}

/** What is in a shard: the names of its tensors, and their bytes without the header. */
export type ShardContents = { readonly tensors: readonly string[]; readonly tensorBytes: number }

/** Names the shards of a model. @param contents of each, in order @param files each as it was stored */
export function indexOf(contents: readonly ShardContents[], files: readonly Omit<ReleasedFile, 'path'>[]): WeightIndex {
  const paths = shardPaths(WEIGHTS_FILE, contents.length)
  const shards = files.map(({ digest, size }, i) => {
    return { path: paths[i] ?? '', digest, size, tensors: contents[i]?.tensors ?? [] }
  })
  return { shards, tensorBytes: contents.reduce((sum, { tensorBytes }) => sum + tensorBytes, 0) }
}

/** The contents of a shard with these tensors. */
export function contentsOf(specs: readonly TensorSpec[]): ShardContents {
  return {
    tensors: specs.map(({ name }) => name),
    tensorBytes: specs.reduce((sum, spec) => sum + byteLength(spec), 0),
  }
}

const size = z.int().min(0)

const indexSchema = z.strictObject({
  metadata: z.strictObject({
    shards: z.record(z.string(), z.strictObject({ digest: digestSchema, size })),
    total_size: size,
  }),
  weight_map: z.record(z.string(), z.string()),
})

/** The canonical bytes of an index. Its shards have the names of {@link shardPaths}. */
export function indexBytes({ shards, tensorBytes }: WeightIndex): Uint8Array {
  const files = shards.map(({ path, digest, size: bytes }) => [path, { digest, size: bytes }] as const)
  const places = shards.flatMap(({ path, tensors }) => tensors.map((name) => [name, path] as const))
  return canonicalBytes({
    metadata: { shards: Object.fromEntries(files), total_size: tensorBytes },
    weight_map: Object.fromEntries(places),
  })
}

/**
 * Reads an index from anywhere: exactly what {@link indexBytes} gives. Names of shards are those of the format alone, so
 * none leads out of its directory.
 * @throws TapestryError VERIFICATION_FAILED
 */
export function parseIndex(bytes: Uint8Array): WeightIndex {
  const { metadata, weight_map: places } = parseCanonical(bytes, indexSchema, WEIGHTS_INDEX)
  const files = new Map(Object.entries(metadata.shards))
  if (files.size < 2) throw failed('names fewer than two shards')
  const names = shardPaths(WEIGHTS_FILE, files.size)
  const tensors = new Map(names.map((name): [string, string[]] => [name, []]))
  for (const [tensor, path] of Object.entries(places)) {
    const of = tensors.get(path)
    if (of === undefined) throw failed(`puts ${JSON.stringify(tensor).slice(0, 120)} into a file that is no shard`)
    of.push(tensor)
  }
  const shards = names.map((path) => {
    const file = files.get(path)
    const own = tensors.get(path) ?? []
    if (file === undefined) throw failed(`does not name its ${files.size} shards`)
    if (own.length === 0) throw failed(`puts nothing into ${path}`)
    return { path, ...file, tensors: own.toSorted(compareText) }
  })
  return { shards, tensorBytes: metadata.total_size }
}

/**
 * The index at `path`; undefined when something else is there, such as weights in one file.
 * @throws TapestryError NOT_FOUND; VERIFICATION_FAILED for an index that is not valid
 */
export async function readIndex(path: string): Promise<WeightIndex | undefined> {
  const file = await open(path, 'r').catch((cause: unknown) => {
    throw fileError(path, cause)
  })
  try {
    return await readOpened(file)
  } finally {
    await file.close()
  }
}

async function readOpened(file: FileHandle): Promise<WeightIndex | undefined> {
  const beginning = Buffer.alloc(BEGINNING.byteLength)
  await file.read(beginning, 0, beginning.byteLength, 0)
  if (!beginning.equals(BEGINNING)) return undefined
  const { size: bytes } = await file.stat()
  if (bytes > MAX_INDEX_BYTES) throw failed(`has ${bytes} bytes; at most ${MAX_INDEX_BYTES} are read`)
  const whole = Buffer.alloc(bytes)
  await file.read(whole, 0, bytes, 0)
  return parseIndex(whole)
}

/**
 * Checks that shards hold what their index says: each exactly its tensors, and all together its bytes.
 * @param pathOf where a shard is
 * @throws TapestryError VERIFICATION_FAILED; NOT_FOUND
 */
export async function checkShards(index: WeightIndex, pathOf: (shard: Shard) => string): Promise<void> {
  let bytes = 0
  for (const shard of index.shards) bytes += await checkShard(shard, pathOf(shard))
  if (bytes === index.tensorBytes) return
  throw failed(`claims ${index.tensorBytes} bytes of tensors, its shards have ${bytes}`)
}

async function checkShard({ path: name, tensors }: Shard, path: string): Promise<number> {
  const file = await open(path, 'r').catch((cause: unknown) => {
    throw fileError(path, cause)
  })
  try {
    const header = await readHeader(file)
    if (!header.ok) throw new TapestryError('VERIFICATION_FAILED', `${name}: ${header.rejection.detail}`)
    const { tensors: found, fileSize, dataBegin } = header.value
    const stray = tensors.find((tensor) => !found.has(tensor))
    if (stray !== undefined || found.size !== tensors.length) throw failed(`names other tensors than ${name} holds`)
    return fileSize - dataBegin
  } finally {
    await file.close()
  }
}

function failed(problem: string): TapestryError {
  return new TapestryError('VERIFICATION_FAILED', `${WEIGHTS_INDEX} ${problem}`)
}
