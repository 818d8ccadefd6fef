import { table } from './markdown.ts'
import { DATA_SOURCES, type DataSourceKind, type TrainingContent } from './training-content.ts'

/** The section of a model card that says what the model was trained on, in the order of the Commission's template. */
export function trainingSection(content: TrainingContent): string {
  const { generalInformation: general, dataProcessing: processing } = content
  const { provider, model, trainingData: data } = general
  const facts = [
    ['Provider', provider.name],
    ['Contact; authorised representative', `${provider.contact}; ${provider.authorisedRepresentative}`],
    ['Model', `${model.name} v${model.version}`],
    ['Placed on the Union market', model.placedOnUnionMarket],
    ['Modalities', data.modalities.join(', ')],
    ['Size', `${data.size.tokens} tokens (${data.size.range}), ${data.size.documents} documents`],
    ['Types of content', data.typesOfContent],
    ['Latest acquisition of data', data.latestAcquisition],
    ...Object.entries(DATA_SOURCES).map(([kind, title]) => [title, sourceText(content, kind as DataSourceKind)]),
    ['Respect of reserved rights (opt-out)', processing.rightsReservation],
    ['Removal of illegal content', processing.illegalContent],
    ['Other', processing.otherInformation],
  ]
  const amounts = [
    ...data.languages.map(({ language, ...amount }) => ['language', language, ...numbers(amount)]),
    ...data.communities.map(({ community, ...amount }) => ['community', community, ...numbers(amount)]),
    ...content.members.map(({ member, ...amount }) => ['member', member, ...numbers(amount)]),
  ]
  const sizes = amounts.length === 0 ? [] : [table(['By', 'Name', 'Tokens', 'Documents'], amounts)]
  return [INTRODUCTION, table(['Field', 'Answer'], facts), ...sizes].join('\n\n')
}

const INTRODUCTION = [
  "The fields of the European Commission's template for the public summary of training content (AI Act, Article",
  '53(1)(d)), as far as the federation knows them. Amounts are what the nodes report over all rounds that shaped this',
  'checkpoint; text that was trained on twice counts twice. A token is a byte of UTF-8, or marks a document.',
].join('\n')

function sourceText({ dataSources }: TrainingContent, kind: DataSourceKind): string {
  const { used, datasets } = dataSources[kind]
  const listed = datasets.map(({ title, steward, licence }) => `${title} (${steward}, ${licence})`)
  return [used, ...listed].join('; ')
}

const numbers = ({ tokens, documents }: { tokens: number; documents: number }) => [String(tokens), String(documents)]
