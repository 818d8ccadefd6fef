import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { encodeHeader, inNameOrder, type TensorData, writeSafetensors } from '../src/model/safetensors.ts'

export type Shapes = Readonly<Record<string, readonly number[]>>

/** A tensor of floats: what every merge is made of. */
export type Floats = TensorData & { readonly data: Float32Array }

/** A directory of its own for the model files of one test file. */
export class TensorFiles {
  readonly dir: string
  private serial = 0

  private constructor(dir: string) {
    this.dir = dir
  }

  static async create(): Promise<TensorFiles> {
    return new TensorFiles(await mkdtemp(join(tmpdir(), 'tensor-files-')))
  }

  remove(): Promise<void> {
    return rm(this.dir, { recursive: true })
  }

  /** A path that is not taken. */
  fresh(name: string): string {
    return join(this.dir, `${this.serial++}-${name}`)
  }

  async save(data: readonly TensorData[]): Promise<string> {
    const path = this.fresh('model')
    await writeSafetensors(path, data)
    return path
  }

  /** The tensors in the given order, with data that are not aligned: what a foreign writer may do. */
  async saveInOrder(data: readonly Floats[]): Promise<string> {
    const path = this.fresh('foreign')
    let position = 0
    const members = data.map(({ name, dtype, shape, data: values }) => {
      const begin = position
      position += values.byteLength
      return [name, { dtype, shape, data_offsets: [begin, position] }]
    })
    let json = JSON.stringify(Object.fromEntries(members))
    while ((8 + json.length) % 4 !== 3) json += ' '
    const length = Buffer.alloc(8)
    length.writeBigUInt64LE(BigInt(json.length))
    await writeFile(
      path,
      Buffer.concat([length, Buffer.from(json), ...data.map(({ data: values }) => bytesOf(values))]),
    )
    return path
  }
}

/** mulberry32: values in [-1, 1). */
export function generator(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 31 - 1
  }
}

export function tensors(shapes: Shapes, value: (index: number) => number): Floats[] {
  return Object.entries(shapes).map(([name, shape]) => {
    const count = shape.reduce((a, b) => a * b, 1)
    return { name, dtype: 'F32', shape, data: Float32Array.from({ length: count }, (_, i) => value(i)) }
  })
}

/** The bytes of a whole merge, base + sum of weight * delta in doubles, written down once more. */
export function mergedBytes(
  base: readonly Floats[],
  deltas: readonly (readonly Floats[])[],
  weights: readonly number[],
): Buffer {
  const result = base.map((tensor, t) => {
    const values = tensor.data.map((value, j) => {
      let sum = 0
      for (const [i, delta] of deltas.entries()) sum += weights[i]! * delta[t]!.data[j]!
      return value + sum
    })
    return { ...tensor, data: values }
  })
  return Buffer.concat([encodeHeader(result), ...inNameOrder(result).map(({ data }) => bytesOf(data))])
}

function bytesOf(values: Float32Array): Buffer {
  return Buffer.from(values.buffer, values.byteOffset, values.byteLength)
}
