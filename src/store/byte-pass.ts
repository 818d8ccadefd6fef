import { createHash, type Hash } from 'node:crypto'
import { closeSync, fstatSync, openSync, readSync, writeSync } from 'node:fs'
import { blockSquares } from '../aggregation/block-squares.ts'
import { fromHex } from '../core/digest.ts'
import { denseScans } from '../model/dense-scan.ts'
import { SafetensorsScan } from '../model/safetensors-scan.ts'
import type { TensorScans } from '../model/tensor-scan.ts'
import { encodedScans } from '../model/update-codec/encoded-scans.ts'
import type { PassTask, Reading } from './reading.ts'

/** Large enough to keep the disk busy, small enough to stay in the processor's cache. */
const PIECE_BYTES = 2 ** 20

let scans: TensorScans | undefined

/** One arena for all passes of a thread. */
function scansOfThread(): TensorScans {
  scans ??= encodedScans(denseScans(blockSquares()))
  return scans
}

/** Writes, hashes and summarises bytes, in one pass over them. Blocks its thread. */
export class BytePass {
  readonly #hash: Hash | undefined
  readonly #scan: SafetensorsScan | undefined
  readonly #write: PassTask['write']
  #bytes = 0

  constructor({ write, hash, summarize }: PassTask) {
    this.#hash = hash ? createHash('sha256') : undefined
    this.#scan = summarize === undefined ? undefined : new SafetensorsScan(summarize, scansOfThread())
    this.#write = write
  }

  /** @throws the system's error when the bytes cannot be written. */
  push(bytes: Uint8Array): void {
    if (this.#write !== undefined) writeAll(this.#write.file, bytes, this.#write.position + this.#bytes)
    this.#bytes += bytes.byteLength
    this.#hash?.update(bytes)
    this.#scan?.push(bytes)
  }

  /** Only for passes that hash. */
  finish(): Reading {
    if (this.#hash === undefined) throw new Error('a part of a file has no digest')
    return { digest: fromHex(this.#hash.digest('hex')), bytes: this.#bytes, summary: this.#scan?.finish() }
  }
}

/** A write may be short, for example just before the disk is full. */
function writeAll(file: number, bytes: Uint8Array, position: number): void {
  for (let done = 0; done < bytes.byteLength; ) {
    done += writeSync(file, bytes, done, bytes.byteLength - done, position + done)
  }
}

/** Reads a file from its beginning to its end, a piece for each step, so that a thread can do other things between. */
export function* readingOf(path: string, summarize: boolean): Generator<undefined, Reading> {
  const file = openSync(path, 'r')
  try {
    const pass = new BytePass({ hash: true, ...(summarize ? { summarize: fstatSync(file).size } : {}) })
    const piece = new Uint8Array(PIECE_BYTES)
    for (let read = readSync(file, piece); read > 0; read = readSync(file, piece)) {
      pass.push(piece.subarray(0, read))
      yield
    }
    return pass.finish()
  } finally {
    closeSync(file)
  }
}
