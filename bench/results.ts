import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { CodecFigure } from './codecs.ts'
import type { FlowerFigure } from './flower.ts'
import type { KernelFigure } from './kernels.ts'
import type { LargeFigure } from './large.ts'
import type { Machine } from './machine.ts'
import type { MergeMemoryFigure } from './merge-memory.ts'
import type { RoundFigure } from './round.ts'
import type { ScaleFigure } from './scale.ts'
import type { TransferFigure } from './transfer.ts'

/** What is measured, by the name of its part. */
export type Figures = {
  readonly kernels: KernelFigure
  readonly memory: readonly MergeMemoryFigure[]
  readonly round: readonly RoundFigure[]
  readonly transfer: TransferFigure
  readonly flower: readonly FlowerFigure[]
  readonly codecs: readonly CodecFigure[]
  readonly large: LargeFigure
  readonly scale: readonly ScaleFigure[]
}

export type Part = keyof Figures

export const PARTS = [
  'kernels',
  'memory',
  'round',
  'transfer',
  'codecs',
  'large',
  'scale',
  'flower',
] as const satisfies readonly Part[]

/** A measurement with where and when it was made. */
export type Result<P extends Part> = { readonly machine: Machine; readonly figures: Figures[P] }
export type Results = { readonly [P in Part]?: Result<P> }

const RESULTS = fileURLToPath(new URL('./results', import.meta.url))

/** Keeps a result as `<part>.json`, replacing the one before. */
export function saveResult<P extends Part>(part: P, result: Result<P>, directory = RESULTS): void {
  mkdirSync(directory, { recursive: true })
  writeFileSync(join(directory, `${part}.json`), `${JSON.stringify(result, rounded, 1)}\n`)
}

/** Everything that was measured, whenever it was. The files are this program's own. */
export function loadResults(directory = RESULTS): Results {
  return {
    ...load('kernels', directory),
    ...load('memory', directory),
    ...load('round', directory),
    ...load('transfer', directory),
    ...load('codecs', directory),
    ...load('large', directory),
    ...load('scale', directory),
    ...load('flower', directory),
  }
}

function load(part: Part, directory: string): Results {
  const path = join(directory, `${part}.json`)
  return existsSync(path) ? { [part]: JSON.parse(readFileSync(path, 'utf8')) } : {}
}

/** Six digits are more than any of it means. */
function rounded(_: string, value: unknown): unknown {
  return typeof value === 'number' && !Number.isInteger(value) ? Number(value.toPrecision(6)) : value
}
