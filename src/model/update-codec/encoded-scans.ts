import { parseCodecText } from '../../core/codec.ts'
import type { SafetensorsHeader, TensorEntry } from '../safetensors-header.ts'
import { elementCount } from '../tensor.ts'
import type { NonFinite, TensorFacts, TensorScan, TensorScans } from '../tensor-scan.ts'
import { CODEC_KEY, INDICES, SCALES, VALUES } from './encoded-layout.ts'
import { isScale, MOST_STEPS } from './int8.ts'

/** Bytes that are looked at together: a multiple of every element size. */
const BLOCK_BYTES = 2 ** 16
/** Scales of one file that are kept until its steps arrive, 16 MiB: the largest plan in the smallest blocks has as many. */
const MOST_SCALES = 2 ** 22

/** What a stretch of elements adds to the facts: the sum of squares of what they stand for, or why no encoder makes them. */
type Finding = { readonly squares: number } | { readonly nonFinite: NonFinite } | { readonly malformed: string }

/** Looks at whole elements that begin on a boundary of 4 bytes. @param first flat index of the first */
type Look = (bytes: Uint8Array, first: number) => Finding

/**
 * Scans for files that name a codec in their metadata, and those of `dense` for all others and for tensors
 * that hold values as they are. Whether the codec is the run's is for the judge: nobody knows yet what the file is for.
 */
export function encodedScans(dense: TensorScans): TensorScans {
  return (header) => {
    const plain = dense(header)
    const codec = codecNamedBy(header)
    if (codec?.name === 'int8') return steppedScans(codec.parameters.block, plain)
    if (codec?.name !== 'topk') return plain
    return (entry) => (isPart(entry, INDICES, 'U32') ? indexScan() : plain(entry))
  }
}

function codecNamedBy({ metadata }: SafetensorsHeader) {
  try {
    return parseCodecText(metadata.get(CODEC_KEY) ?? 'f32')
  } catch {
    return undefined
  }
}

function isPart({ name, dtype }: TensorEntry, prefix: string, wanted: TensorEntry['dtype']): boolean {
  return name.startsWith(prefix) && dtype === wanted
}

/** Scans of steps, which need the scales that came before them. */
function steppedScans(block: number, plain: (entry: TensorEntry) => TensorScan): (entry: TensorEntry) => TensorScan {
  const kept = new Map<string, Float32Array>()
  let room = MOST_SCALES
  return (entry) => {
    const { name, shape } = entry
    if (isPart(entry, SCALES, 'F32')) {
      room -= elementCount(shape)
      if (room < 0) return new BlockScan(4, () => ({ malformed: 'more scales than a model can have' }))
      const scales = new Float32Array(elementCount(shape))
      kept.set(name.slice(SCALES.length), scales)
      return new BlockScan(4, (bytes, first) => lookAtScales(bytes, first, scales))
    }
    if (!isPart(entry, VALUES, 'I8')) return plain(entry)
    const scales = kept.get(name.slice(VALUES.length)) ?? new Float32Array()
    return new BlockScan(1, (bytes, first) => lookAtSteps(bytes, first, scales, block))
  }
}

function lookAtScales(bytes: Uint8Array, first: number, kept: Float32Array): Finding {
  const found = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4)
  kept.set(found, first)
  const bad = found.findIndex((scale) => !isScale(scale))
  if (bad < 0) return { squares: 0 }
  const scale = found[bad]!
  if (!Number.isFinite(scale)) return { nonFinite: { index: first + bad, value: nonFiniteText(scale) } }
  return { malformed: `${scale} at flat index ${first + bad}, which is no scale` }
}

function nonFiniteText(value: number): NonFinite['value'] {
  if (Number.isNaN(value)) return 'NaN'
  return value > 0 ? 'Infinity' : '-Infinity'
}

function lookAtSteps(bytes: Uint8Array, first: number, scales: Float32Array, block: number): Finding {
  const steps = new Int8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let sum = 0
  for (let at = 0; at < steps.length; ) {
    const end = Math.min(steps.length, at + block - ((first + at) % block))
    const scale = scales[Math.floor((first + at) / block)]
    if (scale === undefined) return { malformed: `a step at flat index ${first + at} that has no scale` }
    let squares = 0
    for (; at < end; at += 1) {
      const step = steps[at]!
      if (step < -MOST_STEPS) return { malformed: `${step} at flat index ${first + at}` }
      squares += step * step
    }
    sum += squares * scale * scale
  }
  return { squares: sum }
}

function indexScan(): TensorScan {
  let last = -1
  const look: Look = (bytes) => {
    for (const index of new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4)) {
      if (index <= last) return { malformed: `the index ${index} after ${last}` }
      last = index
    }
    return { squares: 0 }
  }
  const scan = new BlockScan(4, look)
  return {
    push: (bytes) => scan.push(bytes),
    finish: () => ({ ...scan.finish(), ...(last >= 0 && { lastIndex: last }) }),
  }
}

/** Cuts what arrives into blocks that are counted from where the tensor begins. */
class BlockScan implements TensorScan {
  readonly #width: number
  readonly #look: Look
  readonly #block = new Uint8Array(BLOCK_BYTES)
  #filled = 0
  #first = 0
  #squares = 0
  #fault: Exclude<Finding, { squares: number }> | undefined

  constructor(width: number, look: Look) {
    this.#width = width
    this.#look = look
  }

  push(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.byteLength && this.#fault === undefined; ) {
      const fitting = bytes.subarray(at, at + BLOCK_BYTES - this.#filled)
      this.#block.set(fitting, this.#filled)
      this.#filled += fitting.byteLength
      at += fitting.byteLength
      if (this.#filled === BLOCK_BYTES) this.#lookAtBlock()
    }
  }

  finish(): TensorFacts {
    if (this.#filled > 0 && this.#fault === undefined) this.#lookAtBlock()
    if (this.#fault === undefined) return { squares: this.#squares, nonFinite: null }
    return { squares: null, nonFinite: null, ...this.#fault }
  }

  #lookAtBlock(): void {
    const finding = this.#look(this.#block.subarray(0, this.#filled), this.#first)
    if ('squares' in finding) this.#squares += finding.squares
    else this.#fault = finding
    this.#first += this.#filled / this.#width
    this.#filled = 0
  }
}
