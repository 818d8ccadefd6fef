import type { Digest } from '../core/digest.ts'
import type { FederationId, MemberId, RunId } from '../core/ids.ts'
import { compareText } from '../core/order.ts'

/** What nobody has told the federation is said to be unknown, never guessed. */
export const NOT_DECLARED = 'not declared'

/**
 * What one member's merged contributions report about one language of one community, added up over every
 * round that shaped a checkpoint. Tokens and documents count as often as they were trained on.
 */
export type TrainingShare = {
  readonly member: MemberId
  /** BCP-47 tag, verbatim. */
  readonly language: string
  /** Empty when none is declared. */
  readonly community: string
  readonly tokens: number
  readonly documents: number
}

/** The template's sections 2.1 to 2.6: where data may come from. */
export const DATA_SOURCES = {
  publicDatasets: 'Publicly available datasets',
  licensedDatasets: 'Datasets commercially licensed by rightsholders',
  thirdPartyDatasets: 'Private datasets obtained from other third parties',
  crawledData: 'Data crawled and scraped from online sources',
  userData: 'User data',
  syntheticData: 'Synthetic data',
  otherSources: 'Other sources of data',
} as const

export type DataSourceKind = keyof typeof DATA_SOURCES

/** What a member declares about a dataset that its contributions were trained on. */
export type DeclaredDataset = {
  readonly member: MemberId
  readonly title: string
  readonly steward: string
  /** SPDX expression or LicenseRef. */
  readonly licence: string
  readonly source: DataSourceKind
}

/** Everything that the summary is filled from. */
export type TrainingFacts = {
  readonly federation: FederationId
  /** The federation's name: it provides the model. */
  readonly provider: string
  readonly run: RunId
  readonly version: number
  readonly base: Digest | null
  readonly shares: readonly TrainingShare[]
  readonly datasets: readonly DeclaredDataset[]
}

type Amount = { readonly tokens: number; readonly documents: number }
type SourceAnswer = {
  readonly used: 'yes' | 'no' | typeof NOT_DECLARED
  readonly datasets: readonly Omit<DeclaredDataset, 'source'>[]
}

/** The summary's content: the same facts give the same value. Holds no time. */
export type TrainingContent = {
  readonly format: 'tapestry-training-content/1'
  readonly template: string
  readonly generalInformation: {
    readonly provider: {
      readonly name: string
      readonly federation: FederationId
      readonly contact: string
      readonly authorisedRepresentative: string
    }
    readonly model: {
      readonly name: RunId
      readonly version: number
      readonly base: Digest | null
      readonly placedOnUnionMarket: string
    }
    readonly trainingData: {
      readonly modalities: readonly string[]
      readonly size: Amount & { readonly range: string }
      readonly typesOfContent: string
      readonly latestAcquisition: string
      readonly languages: readonly (Amount & { readonly language: string })[]
      readonly communities: readonly (Amount & { readonly community: string })[]
      readonly otherCharacteristics: string
    }
  }
  readonly dataSources: Readonly<Record<DataSourceKind, SourceAnswer>>
  readonly members: readonly (Amount & { readonly member: string })[]
  readonly dataProcessing: {
    readonly rightsReservation: string
    readonly illegalContent: string
    readonly otherInformation: string
  }
}

const TEMPLATE =
  'European Commission, template for the public summary of training content, Regulation (EU) 2024/1689, Article 53(1)(d), July 2025'

const NEVER_LEFT = 'The data stayed with the members: they exchanged weights only.'

/**
 * The fields of the European Commission's template for the public summary of training content
 * (AI Act, Article 53(1)(d); July 2025), as far as the federation knows them.
 */
export function trainingContent(facts: TrainingFacts): TrainingContent {
  const { federation, provider, run, version, base, shares } = facts
  return {
    format: 'tapestry-training-content/1',
    template: TEMPLATE,
    generalInformation: {
      provider: { name: provider, federation, contact: NOT_DECLARED, authorisedRepresentative: NOT_DECLARED },
      model: { name: run, version, base, placedOnUnionMarket: NOT_DECLARED },
      trainingData: dataCharacteristics(shares),
    },
    dataSources: dataSources(facts),
    members: sumBy(shares, ({ member }) => member).map(([member, amount]) => ({ member, ...amount })),
    dataProcessing: {
      rightsReservation: NOT_DECLARED,
      illegalContent: NOT_DECLARED,
      otherInformation: NEVER_LEFT,
    },
  }
}

function dataCharacteristics(shares: readonly TrainingShare[]): TrainingContent['generalInformation']['trainingData'] {
  const [, all = { tokens: 0, documents: 0 }] = sumBy(shares, () => '')[0] ?? []
  const ofCommunities = shares.filter(({ community }) => community !== '')
  return {
    modalities: ['text'],
    size: { ...all, range: sizeRange(all.tokens) },
    typesOfContent: NOT_DECLARED,
    latestAcquisition: NOT_DECLARED,
    languages: sumBy(shares, ({ language }) => language).map(([language, amount]) => ({ language, ...amount })),
    communities: sumBy(ofCommunities, ({ community }) => community).map(([community, amount]) => ({
      community,
      ...amount,
    })),
    otherCharacteristics: NOT_DECLARED,
  }
}

/** The template's ranges for text. */
function sizeRange(tokens: number): string {
  if (tokens === 0) return 'none'
  if (tokens < 1e9) return 'less than 1 billion tokens'
  return tokens <= 1e13 ? '1 billion to 10 trillion tokens' : 'more than 10 trillion tokens'
}

/** Only a model that saw no data is known to have used none of a kind. */
function dataSources({ shares, datasets }: TrainingFacts): TrainingContent['dataSources'] {
  const unknown = shares.length === 0 ? 'no' : NOT_DECLARED
  const answer = (kind: DataSourceKind): SourceAnswer => {
    const declared = datasets.filter(({ source }) => source === kind)
    const listed = declared.map(({ member, title, steward, licence }) => ({ member, title, steward, licence }))
    return { used: listed.length > 0 ? 'yes' : unknown, datasets: listed }
  }
  return {
    publicDatasets: answer('publicDatasets'),
    licensedDatasets: answer('licensedDatasets'),
    thirdPartyDatasets: answer('thirdPartyDatasets'),
    crawledData: answer('crawledData'),
    userData: answer('userData'),
    syntheticData: answer('syntheticData'),
    otherSources: answer('otherSources'),
  }
}

/** Amounts by a key, in order of the key. */
function sumBy(shares: readonly TrainingShare[], keyOf: (share: TrainingShare) => string): [string, Amount][] {
  const sums = new Map<string, Amount>()
  for (const share of shares) {
    const key = keyOf(share)
    const sum = sums.get(key) ?? { tokens: 0, documents: 0 }
    sums.set(key, { tokens: sum.tokens + share.tokens, documents: sum.documents + share.documents })
  }
  return [...sums].sort(([a], [b]) => compareText(a, b))
}
