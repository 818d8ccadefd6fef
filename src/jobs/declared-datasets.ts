import type { DataSourceKind, DeclaredDataset } from '../model/training-content.ts'
import { type ConsentKind, parseDatasetRecord } from '../policy/dataset-record.ts'
import type { DatasetRecordRow } from '../store/records.ts'

/**
 * Where the European template puts data, as far as the ground of their use tells. Agreements and consents do not say
 * whether money was paid or where the text was found, so these are left among the others.
 */
const SOURCES: Readonly<Record<ConsentKind, DataSourceKind>> = {
  'public-domain': 'publicDatasets',
  licence: 'publicDatasets',
  statute: 'otherSources',
  agreement: 'otherSources',
  community: 'otherSources',
  individual: 'otherSources',
}

/** What public records say about the data behind a checkpoint, in their order. */
export function declaredDatasets(records: readonly DatasetRecordRow[]): DeclaredDataset[] {
  return records.map(({ member, text }) => {
    const { title, steward, licence, consent } = parseDatasetRecord(Buffer.from(text, 'utf8'))
    return { member, title, steward, licence, source: SOURCES[consent.kind] }
  })
}
