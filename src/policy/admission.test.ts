import { describe, expect, it } from 'vitest'
import { datasetRecord, datasetTerms, occasion } from '../../test/dataset-records.ts'
import { DEFAULT_DEMANDS, type Demands } from '../core/demands.ts'
import { digestOf } from '../core/digest.ts'
import { ensureNodeId, ensureRecordId } from '../core/ids.ts'
import { ensureJurisdiction } from '../core/jurisdiction.ts'
import { admit, admitTogether, type Occasion, type Withdrawn } from './admission.ts'
import type { Consent, ConsentKind, DatasetRecord } from './dataset-record.ts'

const given = (consent: Partial<Consent>) => ({ ...datasetTerms().consent, ...consent })
const asked = (demands: Partial<Demands>) => occasion({ demands: { ...DEFAULT_DEMANDS, ...demands } })
const [kenya, france, union] = ['KE', 'FR', 'EU'].map(ensureJurisdiction) as [never, never, never]

function reasonFor(record: Partial<DatasetRecord>, when: Occasion = occasion(), withdrawn: Withdrawn[] = []) {
  const verdict = admit(datasetRecord(record), when, withdrawn)
  return verdict.ok ? 'ADMITTED' : verdict.rejection.reason
}

describe('admit', () => {
  const cases: readonly [string, string, Partial<DatasetRecord>, Occasion?][] = [
    ['a record in order', 'ADMITTED', {}],
    ['consent that begins tomorrow', 'CONSENT_PENDING', { consent: given({ granted: '2026-11-24' }) }],
    ['consent that begins today', 'ADMITTED', { consent: given({ granted: '2026-11-23' }) }],
    ['consent that ended', 'CONSENT_EXPIRED', { consent: given({ expires: '2026-11-22' }) }],
    ['consent that ends in the middle of the round', 'CONSENT_EXPIRED', { consent: given({ expires: '2026-11-23' }) }],
    ['consent that outlasts the round', 'ADMITTED', { consent: given({ expires: '2026-11-24' }) }],
    ['a use that was not allowed', 'USE_NOT_ALLOWED', { uses: ['evaluation'] }],
    ['a second use that was not', 'USE_NOT_ALLOWED', {}, asked({ uses: ['pretraining', 'distillation'] })],
    ['a reach that was not allowed', 'USE_NOT_ALLOWED', { stages: ['national', 'entity'] }],
    ['a reach that was', 'ADMITTED', { stages: ['national'] }, asked({ stage: 'national' })],
    ['residency and an unknown place', 'RESIDENCY', { residency: { training: [kenya] } }],
    ['residency elsewhere', 'RESIDENCY', { residency: { training: [kenya] } }, occasion({ trainedIn: france })],
    ['residency within', 'ADMITTED', { residency: { training: [union] } }, occasion({ trainedIn: france })],
    ['coordination elsewhere', 'RESIDENCY', { residency: { coordination: [kenya] } }, asked({ coordinatedIn: france })],
    ['coordination within', 'ADMITTED', { residency: { coordination: [union] } }, asked({ coordinatedIn: france })],
    ['a licence nobody knows', 'LICENCE_UNKNOWN', { licence: 'LicenseRef-mine' }],
    ['a licence that binds', 'LICENCE_NOT_CARRIED', { licence: 'CC-BY-SA-4.0' }],
    ['its own channel', 'ADMITTED', { licence: 'CC-BY-SA-4.0' }, asked({ licence: 'CC-BY-SA-4.0' })],
    [
      'a reference with a class',
      'LICENCE_NOT_CARRIED',
      { licence: 'LicenseRef-Kaitiakitanga', licenceClasses: { 'LicenseRef-Kaitiakitanga': 'restricted' } },
    ],
  ]
  it.each(cases)('%s: %s', (_, reason, record, when) => {
    expect(reasonFor(record, when)).toBe(reason)
  })
})

describe('a withdrawn consent', () => {
  const record = datasetRecord({ consent: given({ kind: 'community' }) })
  const { node, id, content, consent } = record
  const gone: Withdrawn = { node, id, content, evidence: consent.evidence, at: Date.UTC(2026, 10, 20, 9) }
  const other = { id: ensureRecordId('another'), content: digestOf('other text') }
  const fresh = given({ kind: 'community', evidence: digestOf('new paper') })
  const licensed = (kind: ConsentKind) => given({ kind })

  it.each([
    ['the same record', {}, 'CONSENT_WITHDRAWN'],
    ['the same text under another id', { id: other.id, consent: fresh }, 'CONSENT_WITHDRAWN'],
    ['other text on the same evidence', { ...other, consent: given({ kind: 'community' }) }, 'CONSENT_WITHDRAWN'],
    ['other text under the same id', { content: other.content, consent: fresh }, 'CONSENT_WITHDRAWN'],
    ['other text on a licence that many rest on', { ...other, consent: licensed('licence') }, 'ADMITTED'],
    ['other text on other evidence', { ...other, consent: fresh }, 'ADMITTED'],
    ['a consent given anew', { consent: { ...fresh, granted: '2026-11-20' } }, 'ADMITTED'],
    [
      'a consent said to be given anew, on the old evidence',
      { consent: given({ granted: '2026-11-21' }) },
      'CONSENT_WITHDRAWN',
    ],
    ['another node, same text', { node: ensureNodeId(`node-${'b'.repeat(32)}`) }, 'CONSENT_WITHDRAWN'],
  ] as const)('%s: %s', (_, change, reason) => {
    expect(reasonFor({ consent: given({ kind: 'community' }), ...change }, occasion(), [gone])).toBe(reason)
  })
})

describe('admitTogether', () => {
  const records = (...licences: string[]) =>
    licences.map((licence, index) => datasetRecord({ licence, id: ensureRecordId(`record-${index}`) }))

  it('says that licences clash before it says that one is not carried', () => {
    expect(admitTogether(records('CC-BY-SA-4.0', 'CC-BY-NC-SA-4.0'), occasion(), [])).toMatchObject({
      rejection: { reason: 'LICENCE_CLASH' },
    })
    expect(admitTogether(records('MIT', 'CC-BY-SA-4.0'), occasion(), [])).toMatchObject({
      rejection: { reason: 'LICENCE_NOT_CARRIED' },
    })
    expect(admitTogether(records('MIT', 'CC-BY-4.0'), occasion(), [])).toMatchObject({ ok: true })
  })
})
