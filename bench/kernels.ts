// Measures the merge kernels against memory itself: `npx tsx bench/kernels.ts [--quick] [--json]`.
// Every figure is GB (10^9 bytes) of input read a second on one thread. The repetitions of all
// rows are interleaved with those of memcpy, so that whatever else the machine does falls on all alike.
import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import { createArena } from '../src/aggregation/kernels/arena.ts'
import { type Arena, LANES, writeRow } from '../src/aggregation/kernels/kernels.ts'
import { isInstalled, pythonProgram } from './python.ts'
import { spreadOf } from './statistics.ts'

type Case = { readonly name: string; readonly bytes: number; run(): void }

/** GB (10^9 bytes) of input a second. */
export type KernelRate = { readonly name: string; readonly median: number; readonly best: number }
/** `numpy` is empty where it is not installed. `memcpy` is the first of `kernels`. */
export type KernelFigure = { readonly kernels: readonly KernelRate[]; readonly numpy: readonly KernelRate[] }

const REPETITIONS = 7
/** Bytes of input of every case: more than any cache here holds. */
const INPUT_BYTES = 64 * 2 ** 20
/** Elements a kernel is called for: as in a merge, so that sums in memory stay in the first-level cache. */
const TILE = 2048
const COUNTS = [4, 8, 32]

const TABLE = 1024
const SCRATCH = 4096
const ACC = 65_536
const OUT = ACC + TILE * 8
const SCALES = OUT + TILE * 4
const INPUTS = 1 << 20
/** Inputs are not a power of two apart, lest they compete for the same sets of a cache. */
const GAP = 192
const INT8_BLOCK_SHIFT = 6

function inputAt(index: number, bytes: number): number {
  return INPUTS + index * (bytes + GAP)
}

/** Calls `kernel` tile by tile over `count` inputs of elements of `width` bytes. */
function tiled(arena: Arena, count: number, width: number, kernel: (n: number) => void): Case['run'] {
  const n = Math.floor(INPUT_BYTES / count / width / LANES) * LANES
  return () => {
    for (let tile = 0; tile < n; tile += TILE) {
      for (let i = 0; i < count; i += 1) {
        writeRow(arena.buffer, TABLE, i, {
          weight: 1 / count,
          at: inputAt(i, n * width) + tile * width,
          scales: SCALES,
        })
      }
      kernel(Math.min(TILE, n - tile))
    }
  }
}

/** An accumulation from zero, rounded to f32 at the end. */
function meanOf(arena: Arena, accumulate: (n: number) => void): (n: number) => void {
  const acc = new Float64Array(arena.buffer, ACC, TILE)
  return (n) => {
    acc.fill(0)
    accumulate(n)
    arena.kernels.narrow(OUT, ACC, n)
  }
}

/** In registers for as few inputs as are fastest so, otherwise with sums in memory: the same bytes. */
function weightedSum(arena: Arena, count: number): (n: number) => void {
  const { kernels } = arena
  if (count <= 8) return (n) => kernels.weightedSumF32(OUT, TABLE, count, n)
  return meanOf(arena, (n) => kernels.accumulateF32(ACC, TABLE, count, n))
}

function casesOf(arena: Arena, count: number): Case[] {
  const { kernels } = arena
  const of = (name: string, width: number, kernel: (n: number) => void): Case => ({
    name: `${name} of ${count}`,
    bytes: INPUT_BYTES,
    run: tiled(arena, count, width, kernel),
  })
  const mean = (name: string, width: number, accumulate: (n: number) => void) =>
    of(name, width, meanOf(arena, accumulate))
  return [
    of('f32 weighted sum', 4, weightedSum(arena, count)),
    mean('bf16 weighted sum', 2, (n) => kernels.accumulateBf16(ACC, TABLE, count, n)),
    mean('f16 weighted sum', 2, (n) => kernels.accumulateF16(ACC, TABLE, count, n)),
    mean('int8 weighted sum', 1, (n) => kernels.accumulateInt8(ACC, TABLE, count, n, INT8_BLOCK_SHIFT)),
    of('median', 4, (n) => kernels.median(OUT, TABLE, count, n, SCRATCH)),
    of('trimmed mean', 4, (n) => kernels.trimmedMean(OUT, TABLE, count, count >> 2, n, SCRATCH)),
  ]
}

function cases(): Case[] {
  const arena = createArena(INPUTS + INPUT_BYTES + 64 * GAP)
  new Float32Array(arena.buffer, SCALES, TILE >> INT8_BLOCK_SHIFT).fill(1 / 127)
  // Small floats of both signs, whether read as f32, bf16 or f16.
  new Uint32Array(arena.buffer, INPUTS).fill(0x3c0bbc0a).forEach((bits, i, all) => {
    all[i] = bits ^ (Math.imul(i, 0x9e3779b1) & 0x803f803f)
  })
  const source = Buffer.alloc(INPUT_BYTES, 1)
  const target = Buffer.alloc(INPUT_BYTES, 2)
  const n = INPUT_BYTES / 4
  return [
    { name: 'memcpy', bytes: INPUT_BYTES, run: () => target.set(source) },
    ...COUNTS.flatMap((count) => casesOf(arena, count)),
    { name: 'sum of squares', bytes: INPUT_BYTES, run: () => arena.kernels.sumOfSquares(INPUTS, n) },
    { name: 'dot product', bytes: INPUT_BYTES, run: () => arena.kernels.dot(INPUTS, INPUTS + n * 2, n / 2) },
  ]
}

function measure(all: readonly Case[], repetitions: number): KernelRate[] {
  const seconds = all.map((): number[] => [])
  for (let round = -1; round < repetitions; round += 1) {
    for (const [i, { run }] of all.entries()) {
      const start = process.hrtime.bigint()
      run()
      // Round -1 warms up the compiler and touches the pages.
      if (round >= 0) seconds[i]!.push(Number(process.hrtime.bigint() - start) / 1e9)
    }
  }
  return all.map(({ name, bytes }, i) => {
    const { median, least } = spreadOf(seconds[i]!)
    return { name, median: bytes / median / 1e9, best: bytes / least / 1e9 }
  })
}

/** The same cases in numpy; empty where it is not installed. */
function measureNumpy(repetitions: number): KernelRate[] {
  if (!isInstalled()) return []
  const script = fileURLToPath(new URL('./kernels_numpy.py', import.meta.url))
  const text = execFileSync(pythonProgram('python'), [script, String(INPUT_BYTES), String(repetitions)], {
    encoding: 'utf8',
    env: { ...process.env, OMP_NUM_THREADS: '1', OPENBLAS_NUM_THREADS: '1' },
  })
  return z.array(z.object({ name: z.string(), median: z.number(), best: z.number() })).parse(JSON.parse(text))
}

/** Measures every kernel, and numpy where it is installed. `quick` is one repetition, without numpy. */
export function measureKernels({ quick = false } = {}): KernelFigure {
  const repetitions = quick ? 1 : REPETITIONS
  return { kernels: measure(cases(), repetitions), numpy: quick ? [] : measureNumpy(repetitions) }
}

/** A table for a terminal. */
export function kernelLines({ kernels, numpy }: KernelFigure): string {
  const memcpy = kernels[0]!.median
  const column = (value: number | undefined) => (value === undefined ? '-' : value.toFixed(1)).padStart(8)
  const lines = kernels.map(({ name, median, best }) => {
    const peer = numpy.find((rate) => rate.name === name)
    return `${name.padEnd(34)}${column(median)}${column(best)}${column(median / memcpy)}${column(peer?.median)}`
  })
  return [`${'GB/s of input'.padEnd(34)}  median    best /memcpy   numpy`, ...lines].join('\n')
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const figure = measureKernels({ quick: process.argv.includes('--quick') })
  process.stdout.write(`${process.argv.includes('--json') ? JSON.stringify(figure) : kernelLines(figure)}\n`)
}
