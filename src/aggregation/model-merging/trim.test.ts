import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { TensorFiles } from '../../../test/tensor-files.ts'
import { readSafetensors } from '../../model/safetensors.ts'
import { layoutOf, readFloatHeader } from '../merge-layout.ts'
import { ties } from '../strategies/model-merging.ts'
import { trimVector } from './trim.ts'

let files: TensorFiles
beforeAll(async () => {
  files = await TensorFiles.create()
})
afterAll(() => files.remove())

async function trimmed(values: Float32Array, density: number, block: number): Promise<number[]> {
  const path = await files.save([{ name: 'w', dtype: 'F32', shape: [values.length], data: values }])
  const header = await readFloatHeader(path)
  const { dataBegin } = header
  await trimVector({ path, layout: layoutOf(path, header), dataBegin, elements: values.length }, density, { block })
  return [...((await readSafetensors(path)).get('w')?.data ?? [])]
}

test('selects exactly, whatever the values and blocks: of equals the first stay, denormals count', async () => {
  const edges = [0, -0, 1, -1, 1e-45, -1e-45, 1.1754943508222875e-38, 3e38, -3e38, 0.1]
  const value = fc.oneof(fc.constantFrom(...edges), fc.float({ noNaN: true, noDefaultInfinity: true }))
  const property = fc.asyncProperty(
    fc.array(value, { minLength: 1, maxLength: 60 }),
    fc.double({ min: 0.001, max: 1, noNaN: true }),
    fc.integer({ min: 1, max: 64 }),
    async (values, density, block) => {
      const delta = Float32Array.from(values)
      const kept = await trimmed(delta, density, block)
      expect(kept.filter((x) => x !== 0).length).toBeLessThanOrEqual(Math.ceil(density * values.length))
      // Of one model, what TIES makes in memory is what it keeps. Adding 0 takes the sign off zeros.
      expect(kept.map((x) => x + 0)).toEqual([...ties(density, 1)([{ delta, weight: 1 }])].map((x) => x + 0))
    },
  )
  await fc.assert(property, { seed: 9, numRuns: 200 })
})
