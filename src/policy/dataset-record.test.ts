import { describe, expect, it } from 'vitest'
import { datasetRecord, datasetTerms } from '../../test/dataset-records.ts'
import { canonicalBytes } from '../core/canonical-json.ts'
import { parseDatasetRecord, parseWithdrawal, termsSchema, withdrawalBytes } from './dataset-record.ts'

const refused = expect.objectContaining({ code: 'VERIFICATION_FAILED' })

describe('parseDatasetRecord', () => {
  it('reads back what was signed', () => {
    const record = datasetRecord({
      communities: [{ authority: 'Bajuni council', labels: ['TK Attribution'] }],
      residency: {},
      stages: ['national'],
    })
    expect(parseDatasetRecord(canonicalBytes(record))).toEqual(record)
  })

  it.each([
    ['another format', { format: 'tapestry-record/2' }],
    ['a member too many', { text: 'once upon a time' }],
    ['a language that does not exist', { languages: ['xq'] }],
    ['the same language twice', { languages: ['sw', 'SW'] }],
    ['no language', { languages: [] }],
    ['a jurisdiction that does not exist', { residency: { training: ['XX'] } }],
    ['a use that does not exist', { uses: ['surveillance'] }],
    ['no use', { uses: [] }],
    ['a day that does not exist', { consent: { ...datasetTerms().consent, granted: '2026-02-30' } }],
    ['consent that ends before it began', { consent: { ...datasetTerms().consent, expires: '1900-01-01' } }],
    ['evidence that is no digest', { consent: { ...datasetTerms().consent, evidence: 'a paper' } }],
    ['a title of several lines', { title: 'a\nb' }],
    ['a title as long as a text', { title: 'x'.repeat(201) }],
    ['an id that is a path', { id: '../../etc' }],
    ['no content', { content: undefined }],
    ['a class for something else', { licenceClasses: { MIT: 'permissive' } }],
  ])('refuses %s', (_, change) => {
    expect(() => parseDatasetRecord(canonicalBytes({ ...datasetRecord(), ...change }))).toThrow(refused)
  })

  it('refuses other bytes for the same record, and more than a record needs', () => {
    const text = JSON.stringify(datasetRecord(), null, 2)
    expect(() => parseDatasetRecord(Buffer.from(text))).toThrow(refused)
    expect(() => parseDatasetRecord(new Uint8Array(70_000))).toThrow(refused)
    expect(() => parseDatasetRecord(canonicalBytes(datasetRecord()).subarray(0, 100))).toThrow(refused)
  })

  it('keeps language tags as they were written', () => {
    expect(
      datasetRecord({ languages: termsSchema.parse({ ...datasetTerms(), languages: ['quz', 'als'] }).languages }),
    ).toMatchObject({ languages: ['quz', 'als'] })
  })
})

describe('parseWithdrawal', () => {
  it('reads back what was signed, and nothing else', () => {
    const { federation, node, id } = datasetRecord()
    const bytes = withdrawalBytes({ federation, node, id, withdrawn: '2026-11-23' })
    expect(parseWithdrawal(bytes)).toMatchObject({ id, withdrawn: '2026-11-23' })
    expect(() => parseWithdrawal(canonicalBytes(datasetRecord()))).toThrow(refused)
  })
})
