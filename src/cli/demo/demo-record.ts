import { digestOf } from '../../core/digest.ts'
import { ensureRecordId } from '../../core/ids.ts'
import type { LanguageTag } from '../../core/language-tag.ts'
import type { DatasetTerms } from '../../policy/dataset-record.ts'

/** The Universal Declaration of Human Rights, or a folder of whoever runs the demonstration. */
export type TextSource = 'declaration' | 'folder'

/** Nobody but its owner can say what a folder's text allows: such a demonstration stays with whoever ran it. */
const OWN_LICENCE = 'LicenseRef-demonstration'

/** What the demonstration's checkpoints are released under. */
export function demoLicence(source: TextSource): string {
  return source === 'declaration' ? 'Apache-2.0' : OWN_LICENCE
}

/** What a node of the demonstration declares about its text. */
export function demoTerms(node: string, languages: readonly LanguageTag[], source: TextSource): DatasetTerms {
  const shared = { languages, steward: `${node}-owner`, uses: ['pretraining', 'evaluation'], public: true } as const
  if (source === 'declaration') {
    const basis = 'The Universal Declaration of Human Rights and its translations are free of copyright.'
    return {
      ...shared,
      id: ensureRecordId('declaration'),
      title: 'Universal Declaration of Human Rights',
      licence: 'CC-PDDC',
      consent: { kind: 'public-domain', evidence: digestOf(basis), granted: '1948-12-10' },
    }
  }
  const basis = 'Whoever runs the demonstration gives their own text to it, and keeps what comes of it.'
  return {
    ...shared,
    id: ensureRecordId('own-text'),
    title: 'Text given to the demonstration',
    licence: OWN_LICENCE,
    licenceClasses: { [OWN_LICENCE]: 'restricted' },
    consent: { kind: 'agreement', evidence: digestOf(basis), granted: '2026-01-01' },
  }
}
