import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Codec } from '../core/codec.ts'
import type { Strategy } from '../core/strategy.ts'
import type { MergeRequest } from './merge.ts'
import { keepsState, mergeRound } from './merge-round.ts'

/** Where a checkpoint keeps its weights, and what its optimizer remembers. */
export const WEIGHTS_FILE = 'model.safetensors'
export const STATE_FILE = 'optimizer.safetensors'

/** Paths of a model between two merges. `state`: what its optimizer remembers; undefined when it keeps nothing. */
export type ModelFiles = { readonly weights: string; readonly state: string | undefined }

export type StepOptions = Pick<MergeRequest, 'threads' | 'onProgress' | 'signal'> & {
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
): Promise<ModelFiles> {
  await mkdir(directory, { recursive: true })
  const weights = join(directory, WEIGHTS_FILE)
  const state = keepsState(strategy) ? join(directory, STATE_FILE) : undefined
  const optimizer = state === undefined ? undefined : { before: base.state, out: state }
  await mergeRound({ base: base.weights, deltas, out: weights, strategy, optimizer, ...options })
  return { weights, state }
}
