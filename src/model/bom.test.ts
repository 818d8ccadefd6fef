import { beforeAll, describe, expect, it } from 'vitest'
import { sampleSource } from '../../test/interop/attested.ts'
import { sampleManifest } from '../../test/interop/checkpoint.ts'
import { makeFederation } from '../../test/interop/federation.ts'
import { digestOf, hexOf } from '../core/digest.ts'
import { type BomSource, billOfMaterials } from './bom.ts'

let source: BomSource
beforeAll(async () => {
  const sample = sampleManifest(await makeFederation())
  const files = [{ path: 'model.safetensors', digest: digestOf('weights'), size: 7 }]
  source = { ...sampleSource(sample), manifest: { ...sample, files }, checkpoint: digestOf('checkpoint') }
})

const bomOf = (change: Partial<BomSource> = {}) =>
  JSON.parse(Buffer.from(billOfMaterials({ ...source, ...change }).bytes).toString('utf8'))

// The official schema judges the form: test/interop/attestations.test.ts.
describe('billOfMaterials', () => {
  it('gives equal bytes for equal facts, and another number for another checkpoint', () => {
    expect(billOfMaterials(source).bytes).toEqual(billOfMaterials({ ...source }).bytes)
    const { serialNumber } = bomOf()
    expect(serialNumber).toMatch(/^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
    expect(bomOf({ checkpoint: digestOf('another') }).serialNumber).not.toBe(serialNumber)
  })

  it('names the model, its base, its files and its scores', () => {
    const model = bomOf().metadata.component
    expect(model.hashes).toEqual([{ alg: 'SHA-256', content: hexOf(source.checkpoint) }])
    expect(model.pedigree.ancestors[0]).toMatchObject({
      version: '0',
      hashes: [{ content: hexOf(digestOf('parent')) }],
    })
    expect(model.components[0]).toMatchObject({
      name: 'model.safetensors',
      hashes: [{ alg: 'SHA-256', content: hexOf(digestOf('weights')) }],
    })
    const [metric] = model.modelCard.quantitativeAnalysis.performanceMetrics
    expect(metric).toMatchObject({ slice: 'sw', value: '5.25' })
    expect(Number(metric.confidenceInterval.lowerBound)).toBeCloseTo(5.25 - 1.96 * 0.02, 12)
    expect(Number(metric.confidenceInterval.upperBound)).toBeCloseTo(5.25 + 1.96 * 0.02, 12)
  })

  it('lists what each member reports, and licences only where they are declared', () => {
    const [first, second] = bomOf().components
    expect(first).toMatchObject({ type: 'data', name: 'member-aa', licenses: [{ license: { name: 'CC-BY-4.0' } }] })
    expect(first.data[0].contents.properties).toEqual([
      { name: 'tapestry:tokens:quz:runasimi', value: '20' },
      { name: 'tapestry:documents:quz:runasimi', value: '2' },
      { name: 'tapestry:tokens:sw', value: '1000' },
      { name: 'tapestry:documents:sw', value: '10' },
    ])
    expect(second).toMatchObject({ name: 'member-bb' })
    expect(second).not.toHaveProperty('licenses')
  })

  it('has no ancestor for an initial checkpoint', () => {
    const initial = { ...source.manifest, version: 0, round: 0, base: null, contributions: [] }
    expect(bomOf({ manifest: initial }).metadata.component).not.toHaveProperty('pedigree')
  })
})
