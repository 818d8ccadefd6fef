import { mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { digestOf } from '../core/digest.ts'
import { encodeHeader } from '../model/safetensors.ts'
import { BLOCK_BYTES, type Block } from './block-pool.ts'
import { PassThreads } from './pass-threads.ts'

const directory = await mkdtemp(join(tmpdir(), 'pass-'))
const threads = new PassThreads(2)
afterAll(async () => {
  await threads.close()
  await rm(directory, { recursive: true })
})

function blockOf(bytes: Uint8Array): Block {
  const block = new Uint8Array(new SharedArrayBuffer(BLOCK_BYTES))
  block.set(bytes)
  return block
}

const SPEC = { name: 'a', dtype: 'F32', shape: [300_000] } as const
const BYTES = Buffer.concat([encodeHeader([SPEC]), Buffer.from(new Float32Array(300_000).fill(0.5).buffer)])
const PARTS = Array.from({ length: Math.ceil(BYTES.length / BLOCK_BYTES) }, (_, i) =>
  BYTES.subarray(i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES),
)
const SUMMARY = { kind: 'tensors', bytes: BYTES.length, tensors: [{ ...SPEC, squares: 75_000, nonFinite: null }] }

describe('PassThreads', () => {
  it('writes, hashes and summarises several files at once', async () => {
    const send = async (name: string) => {
      const path = join(directory, name)
      const file = await open(path, 'w')
      const pass = threads.begin({ write: { file: file.fd, position: 0 }, hash: true, summarize: BYTES.length })
      await Promise.all(PARTS.map((part) => pass.push(blockOf(part), part.length)))
      const reading = await pass.finish()
      pass.drop()
      pass.drop()
      await file.close()
      expect((await readFile(path)).equals(BYTES)).toBe(true)
      return reading
    }
    for (const reading of await Promise.all(['1', '2', '3', '4', '5'].map(send))) {
      expect(reading).toMatchObject({ digest: digestOf(BYTES), bytes: BYTES.length, summary: SUMMARY })
    }
  })

  it('reads a file from the disk to the same end', async () => {
    const path = join(directory, 'whole')
    await writeFile(path, BYTES)
    const [full, bare] = await Promise.all([threads.read(path, true), threads.read(path, false)])
    expect(full).toMatchObject({ digest: digestOf(BYTES), summary: SUMMARY })
    expect(bare).toEqual({ digest: digestOf(BYTES), bytes: BYTES.length, summary: undefined })
    await expect(threads.read(join(directory, 'none'), true)).rejects.toMatchObject({ code: 'ENOENT' })
  })

  it('writes nothing after a block that could not be written', async () => {
    const file = await open('/dev/full', 'r+')
    const pass = threads.begin({ write: { file: file.fd, position: 0 }, hash: true })
    await expect(pass.push(blockOf(BYTES.subarray(0, 10)), 10)).rejects.toMatchObject({ code: 'ENOSPC' })
    await expect(pass.push(blockOf(BYTES.subarray(10, 20)), 10)).rejects.toThrow()
    await expect(pass.finish()).rejects.toThrow()
    pass.drop()
    await file.close()
  })

  it('fails what it was doing when its threads end, and starts others', async () => {
    const mortal = new PassThreads(1)
    const path = join(directory, 'mortal')
    await writeFile(path, BYTES)
    const interrupted = mortal.read(path, true)
    const outcome = expect(interrupted).rejects.toMatchObject({ code: 'INTERNAL' })
    await mortal.close()
    await outcome
    expect(await mortal.read(path, false)).toMatchObject({ digest: digestOf(BYTES) })
    await mortal.close()
  })
})
