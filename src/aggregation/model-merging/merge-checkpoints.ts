import { chmod, lstat, mkdir, mkdtemp, open, readFile, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { Digest } from '../../core/digest.ts'
import { TapestryError } from '../../core/error.ts'
import type { Merging } from '../../core/model-merging.ts'
import { compareText } from '../../core/order.ts'
import type { ReleasedFile } from '../../model/manifest.ts'
import {
  MERGE_RECORD_FILE,
  type MergedModel,
  type MergeRecord,
  mergeCard,
  mergeRecordBytes,
} from '../../model/merge-record.ts'
import { directoriesOf } from '../../model/release-path.ts'
import { type TrustRoot, type VerifiedCheckpoint, verifyCheckpoint } from '../../model/verify.ts'
import { indexBytes, indexOf, WEIGHTS_FILE, WEIGHTS_INDEX, weightFilesAmong } from '../../model/weight-index.ts'
import { fileError, writeWhole } from '../../model/whole-file.ts'
import type { MergeResult } from '../merge.ts'
import { mergeModels } from './merge-models.ts'

const CARD = 'README.md'
/** Files of a checkpoint that say how it was trained: a merge was not. */
const OF_TRAINING = new Set([CARD, WEIGHTS_INDEX, 'optimizer.safetensors', 'plan.json'])

export type CheckpointMerge = {
  /** Directory of the checkpoint that the others were specialised from. */
  readonly base: string
  /** Directories of the others. */
  readonly models: readonly string[]
  readonly merging: Merging
  /** Whose checkpoints all of them must be. */
  readonly trust: TrustRoot
  /** The directory to make. It appears whole or not at all. */
  readonly out: string
  readonly digestOf: (path: string) => Promise<{ readonly digest: Digest; readonly size: number }>
  readonly threads?: number | undefined
  readonly signal?: AbortSignal | undefined
  readonly onVerify?: ((done: number, total: number) => void) | undefined
  readonly onMerge?: ((done: number, total: number) => void) | undefined
}

export type MergedCheckpoint = { readonly record: MergeRecord; readonly digest: Digest; readonly merged: MergeResult }

type Source = VerifiedCheckpoint & { readonly directory: string }

/**
 * Merges verified checkpoints into the directory of a model that is none: unsigned, with a record of what it is made
 * of. Needs no network. Except on the arc of SLERP, which has a direction, the order in which models are given changes
 * nothing: they are merged in the order of their digests.
 * @throws TapestryError VERIFICATION_FAILED, WRONG_FEDERATION as `verifyCheckpoint`; INVALID_ARGUMENT for checkpoints
 *   of different kinds or one that is given twice; ALREADY_EXISTS; as `mergeModels`
 */
export async function mergeCheckpoints(request: CheckpointMerge): Promise<MergedCheckpoint> {
  await refuseExisting(request.out)
  const base = await verified(request, request.base)
  const given: Source[] = []
  for (const directory of request.models) given.push(await verified(request, directory))
  const models = request.merging.name === 'slerp' ? given : given.sort((a, b) => compareText(a.digest, b.digest))
  ensureMergeable(base, models)
  const parent = dirname(request.out)
  const partial = await mkdtemp(join(parent, `.${basename(request.out)}.`)).catch((cause: unknown) => {
    throw fileError(parent, cause)
  })
  try {
    const made = await mergeInto(partial, request, base, models)
    await install(partial, request.out)
    return made
  } catch (cause) {
    throw fileError(request.out, cause)
  } finally {
    await rm(partial, { recursive: true, force: true })
  }
}

async function refuseExisting(out: string): Promise<void> {
  if ((await lstat(out).catch(() => undefined)) === undefined) return
  throw new TapestryError('ALREADY_EXISTS', `${out} exists already`, { hint: 'choose another directory' })
}

async function verified({ trust, onVerify }: CheckpointMerge, directory: string): Promise<Source> {
  const checkpoint = await verifyCheckpoint(directory, trust, onVerify && { onProgress: onVerify })
  return { ...checkpoint, directory }
}

function ensureMergeable(base: Source, models: readonly Source[]): void {
  const refuse = (problem: string) => {
    throw new TapestryError('INVALID_ARGUMENT', problem)
  }
  if (new Set(models.map(({ digest }) => digest)).size < models.length) refuse('a model is given twice')
  for (const model of models) {
    if (model.digest === base.digest) refuse(`${model.directory} is the base itself: it has no change to merge`)
    const own = new Map(model.manifest.files.map(({ path, digest }) => [path, digest]))
    const other = sharedFiles(base).find(({ path, digest }) => own.get(path) !== digest)
    if (other !== undefined) {
      refuse(`${model.directory}: ${other.path} is not the base's: only models of one kind can be merged`)
    }
  }
}

/** What base, models and merge have in common: the configuration and the tokenizer. */
function sharedFiles({ manifest }: Source): ReleasedFile[] {
  const weights = new Set(weightFilesAmong(manifest.files).map(({ path }) => path))
  return manifest.files.filter(({ path }) => !OF_TRAINING.has(path) && !weights.has(path))
}

async function mergeInto(
  directory: string,
  request: CheckpointMerge,
  base: Source,
  models: readonly Source[],
): Promise<MergedCheckpoint> {
  const { merging, threads, signal, onMerge: onProgress } = request
  const scratch = join(directory, '.scratch')
  await mkdir(scratch)
  const weightsOf = ({ directory: from, manifest }: Source) =>
    weightFilesAmong(manifest.files).map(({ path }) => join(from, path))
  const files = { base: weightsOf(base), models: models.map(weightsOf), out: join(directory, WEIGHTS_FILE), scratch }
  const { shardBytes } = base.manifest
  const merged = await mergeModels({ ...files, shardBytes, merging, threads, signal, onProgress })
  await rm(scratch, { recursive: true })

  const facts = { format: 'tapestry-merge/1', strategy: merging, base: named(base), models: models.map(named) } as const
  const cards = await Promise.all(
    [base, ...models].map((source) => readFile(join(source.directory, CARD), 'utf8').catch(() => '')),
  )
  await writeWhole(join(directory, CARD), [Buffer.from(mergeCard(facts, cards))])
  const shared = sharedFiles(base)
  for (const { path } of shared) await copyInto(directory, base.directory, path)
  const weights = await indexed(request, directory, merged)
  const made = [...shared, ...weights, await digested(request, directory, CARD)]
  const listed = made.sort((one, other) => compareText(one.path, other.path))
  const record: MergeRecord = { ...facts, files: listed }
  await writeWhole(join(directory, MERGE_RECORD_FILE), [mergeRecordBytes(record)])
  const { digest } = await digested(request, directory, MERGE_RECORD_FILE)
  return { record, digest, merged }
}

/** The files of the merged weights; those in shards get their index. */
async function indexed(request: CheckpointMerge, directory: string, merged: MergeResult): Promise<ReleasedFile[]> {
  const files: ReleasedFile[] = []
  for (const { path } of merged.files) files.push(await digested(request, directory, basename(path)))
  if (files.length === 1) return files
  await writeWhole(join(directory, WEIGHTS_INDEX), [indexBytes(indexOf(merged.files, files))])
  return [...files, await digested(request, directory, WEIGHTS_INDEX)]
}

function named({ digest, manifest }: Source): MergedModel {
  const { federation, run, version } = manifest
  return { digest, federation, run, version }
}

async function copyInto(directory: string, from: string, path: string): Promise<void> {
  for (const parent of directoriesOf(path)) await mkdir(join(directory, parent), { recursive: true })
  await writeWhole(join(directory, path), [await readFile(join(from, path))])
}

async function digested({ digestOf }: CheckpointMerge, directory: string, path: string): Promise<ReleasedFile> {
  return { ...(await digestOf(join(directory, path))), path }
}

/** Gives the finished directory its name, readable like any other. */
async function install(partial: string, out: string): Promise<void> {
  await chmod(partial, 0o755)
  await syncDirectory(partial)
  await rename(partial, out)
  await syncDirectory(dirname(out))
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r')
  await directory.sync().finally(() => directory.close())
}
