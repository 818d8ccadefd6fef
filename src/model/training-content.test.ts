import { beforeAll, describe, expect, it } from 'vitest'
import { sampleManifest, sampleTraining } from '../../test/interop/checkpoint.ts'
import { makeFederation } from '../../test/interop/federation.ts'
import { NOT_DECLARED, type TrainingFacts, trainingContent } from './training-content.ts'
import { trainingSection } from './training-section.ts'

let facts: TrainingFacts
beforeAll(async () => {
  facts = sampleTraining(sampleManifest(await makeFederation()))
})

/** Every text in a value, however deep. */
function texts(value: unknown): unknown[] {
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(texts) : [value]
}

describe('trainingContent', () => {
  it('adds up by language, community and member, whatever the order', () => {
    const content = trainingContent(facts)
    expect(content.generalInformation.trainingData).toMatchObject({
      size: { tokens: 1520, documents: 17 },
      languages: [
        { language: 'quz', tokens: 20, documents: 2 },
        { language: 'sw', tokens: 1500, documents: 15 },
      ],
      communities: [{ community: 'runasimi', tokens: 20, documents: 2 }],
    })
    expect(content.members.map(({ tokens }) => tokens)).toEqual([1020, 500])
    expect(trainingContent({ ...facts, shares: [...facts.shares].reverse() })).toEqual(content)
  })

  it('says what nobody declared, instead of guessing', () => {
    const { dataSources, dataProcessing, generalInformation } = trainingContent(facts)
    expect(dataSources.publicDatasets.used).toBe('yes')
    expect(dataSources.crawledData).toEqual({ used: NOT_DECLARED, datasets: [] })
    expect(texts([dataProcessing.rightsReservation, dataProcessing.illegalContent])).toEqual([
      NOT_DECLARED,
      NOT_DECLARED,
    ])
    expect(generalInformation.model.placedOnUnionMarket).toBe(NOT_DECLARED)
  })

  it.each([
    [0, 'none'],
    [1e9 - 1, 'less than 1 billion tokens'],
    [1e9, '1 billion to 10 trillion tokens'],
    [1e13, '1 billion to 10 trillion tokens'],
    [1e13 + 1, 'more than 10 trillion tokens'],
  ])('puts %d tokens in the range of the template', (tokens, range) => {
    const shares = facts.shares.slice(0, 1).map((share) => ({ ...share, tokens }))
    expect(trainingContent({ ...facts, shares }).generalInformation.trainingData.size.range).toBe(range)
  })
})

describe('trainingSection', () => {
  it('states every field, and keeps what strangers wrote in its cell', () => {
    const title = '<script>|[x](y)\n## z'
    const [dataset] = facts.datasets
    const hostile = dataset === undefined ? [] : [{ ...dataset, title }]
    const section = trainingSection(trainingContent({ ...facts, datasets: hostile }))
    expect(section).toContain('| Removal of illegal content | not declared |')
    expect(section).toContain('| language | sw | 1500 | 15 |')
    expect(section).toContain('\\<script\\>\\|\\[x\\](y) \\#\\# z (Council, CC-BY-4.0)')
    for (const line of section.split('\n').filter((one) => one.startsWith('|'))) {
      expect([3, 5]).toContain(line.replaceAll('\\|', '').split('|').length - 1)
    }
  })

  it('has no table of amounts when nothing was trained on', () => {
    const section = trainingSection(trainingContent({ ...facts, shares: [], datasets: [] }))
    expect(section).not.toContain('| By |')
    expect(section).toContain('| User data | no |')
  })
})
