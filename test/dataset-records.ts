import { DEFAULT_DEMANDS } from '../src/core/demands.ts'
import { digestOf } from '../src/core/digest.ts'
import { ensureFederationId, ensureNodeId, ensureRecordId } from '../src/core/ids.ts'
import { ensureLanguageTag } from '../src/core/language-tag.ts'
import type { Occasion } from '../src/policy/admission.ts'
import {
  type DatasetRecord,
  type DatasetTerms,
  datasetRecordBytes,
  parseDatasetRecord,
} from '../src/policy/dataset-record.ts'

/** Terms that every run admits, for tests that care about one of them. */
export function datasetTerms(change: Partial<DatasetTerms> = {}): DatasetTerms {
  return {
    id: ensureRecordId('declaration'),
    steward: 'Lamu Archive',
    title: 'Universal Declaration of Human Rights',
    languages: [ensureLanguageTag('sw')],
    licence: 'CC0-1.0',
    consent: { kind: 'public-domain', evidence: digestOf('the declaration'), granted: '1948-12-10' },
    uses: ['pretraining'],
    public: true,
    ...change,
  }
}

/** The same as a node declares them. */
export function datasetRecord(change: Partial<Omit<DatasetRecord, 'format'>> = {}): DatasetRecord {
  const place = { federation: ensureFederationId(digestOf('federation')), node: ensureNodeId(`node-${'a'.repeat(32)}`) }
  return parseDatasetRecord(datasetRecordBytes({ ...datasetTerms(), ...place, content: digestOf('text'), ...change }))
}

/** An occasion on 23 November 2026, of a round that may take a day. */
export function occasion(change: Partial<Occasion> = {}): Occasion {
  const now = Date.UTC(2026, 10, 23, 12)
  return { demands: DEFAULT_DEMANDS, trainedIn: null, now, until: now + 24 * 3600 * 1000, ...change }
}
