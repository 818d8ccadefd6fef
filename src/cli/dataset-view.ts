import { digestOf } from '../core/digest.ts'
import type { DataSource } from '../engine/sources.ts'
import type { Dataset, SignedText } from '../participant/dataset-file.ts'
import { parseDatasetRecord, parseWithdrawal } from '../policy/dataset-record.ts'
import { table } from './terminal.ts'

/** A dataset as JSON: what was declared, what the coordinator has, and which text it is about. */
export function datasetJson({ terms, path, record, withdrawal }: Dataset, sources: readonly DataSource[]) {
  const { communities, licenceClasses, residency, stages, consent, ...rest } = terms
  return {
    ...rest,
    communities: (communities ?? []).map(({ authority, contact, labels }) => {
      return { authority, contact: contact ?? null, labels: labels ?? [] }
    }),
    licenceClasses: licenceClasses ?? {},
    consent: { ...consent, expires: consent.expires ?? null },
    residency: { training: residency?.training ?? null, coordination: residency?.coordination ?? null },
    stages: stages ?? null,
    file: path,
    texts: textsOf(terms.id, sources),
    registered: record?.told === true ? registered(record) : null,
    withdrawn: withdrawal === undefined ? null : { day: dayOf(withdrawal), told: withdrawal.told },
  }
}

/** Datasets for people. */
export function datasetsTable(datasets: readonly Dataset[], sources: readonly DataSource[]): string {
  return table(
    [
      { title: 'DATASET' },
      { title: 'LANGUAGES' },
      { title: 'LICENCE' },
      { title: 'CONSENT UNTIL' },
      { title: 'USES' },
      { title: 'STATE' },
      { title: 'TEXT' },
    ],
    datasets.map((dataset) => {
      const { id, languages, licence, consent, uses } = dataset.terms
      const until = consent.expires ?? 'no end'
      const texts = textsOf(id, sources).join(', ') || '-'
      return [id, languages.join(', '), licence, until, uses.join(', '), stateOf(dataset), texts]
    }),
  )
}

/** `registered`: the coordinator has it as it was then; a change since is sent when the node runs. */
export function stateOf({ record, withdrawal }: Dataset): string {
  if (withdrawal !== undefined) return withdrawal.told ? 'withdrawn' : 'withdrawn, coordinator not told yet'
  return record?.told === true ? 'registered' : 'not sent yet'
}

const textsOf = (id: string, sources: readonly DataSource[]) =>
  sources.filter(({ record }) => record === id).map(({ path }) => path)

function registered({ text }: SignedText) {
  const { content } = parseDatasetRecord(Buffer.from(text, 'utf8'))
  return { digest: digestOf(text), content }
}

const dayOf = ({ text }: SignedText) => parseWithdrawal(Buffer.from(text, 'utf8')).withdrawn
