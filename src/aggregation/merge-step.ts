import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Codec } from '../core/codec.ts'
import type { Strategy } from '../core/strategy.ts'
import { WEIGHTS_FILE, type WeightFiles } from '../model/weight-index.ts'
import type { MergeRequest, WrittenFile } from './merge.ts'
import { keepsState, mergeRound } from './merge-round.ts'

/** Where a checkpoint keeps what its optimizer remembers. */
export const STATE_FILE = 'optimizer.safetensors'

/** A model between two merges, by its paths. `state`: what its optimizer remembers; undefined when it keeps nothing. */
export type ModelFiles = { readonly weights: WeightFiles; readonly state: string | undefined }

/** With what is in each of its files of weights. */
export type SteppedModel = ModelFiles & { readonly written: readonly WrittenFile[] }

export type StepOptions = Pick<MergeRequest, 'shardBytes' | 'threads' | 'onProgress' | 'signal'> & {
  readonly strategy: Strategy
  readonly codec: Codec | undefined
}

/**
 * One merge of a chain: what it makes is what the next one starts from.
 * @param directory where the new model's files go; made if it is not there
 * @throws TapestryError as `mergeRound`
 */
export async function mergeStep(
  base: ModelFiles,
  deltas: MergeRequest['deltas'],
  directory: string,
  { strategy, ...options }: StepOptions,
): Promise<SteppedModel> {
  await mkdir(directory, { recursive: true })
  const out = join(directory, WEIGHTS_FILE)
  const state = keepsState(strategy) ? join(directory, STATE_FILE) : undefined
  const optimizer = state === undefined ? undefined : { before: base.state, out: state }
  const { files } = await mergeRound({ base: base.weights, deltas, out, strategy, optimizer, ...options })
  return { weights: files.map(({ path }) => path), state, written: files }
}
