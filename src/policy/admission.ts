import type { Millis } from '../core/clock.ts'
import type { Demands } from '../core/demands.ts'
import type { Digest } from '../core/digest.ts'
import type { NodeId, RecordId } from '../core/ids.ts'
import { type Jurisdiction, liesWithin } from '../core/jurisdiction.ts'
import { accept, type Rejection, reject, type Verdict } from '../core/rejection.ts'
import type { Consent, DatasetRecord } from './dataset-record.ts'
import { dayOf, endOf, startOf } from './day.ts'
import { canMeet, carriedBy, licenceTerms } from './licence.ts'

/** Where and when the data would be used. */
export type Occasion = {
  readonly demands: Demands
  /** Where the node trains; null when its member never said. */
  readonly trainedIn: Jurisdiction | null
  readonly now: Millis
  /**
   * The latest moment at which the contribution may be merged. Consent must hold until then: what has been merged is
   * in the model, so consent that ends in the middle of a round is treated as ended when the round begins.
   */
  readonly until: Millis
}

/** A consent that was taken back: one for every record that the withdrawal covers. */
export type Withdrawn = {
  readonly node: NodeId
  readonly id: RecordId
  readonly content: Digest
  readonly evidence: Digest
  /** When the withdrawal arrived. */
  readonly at: Millis
}

/**
 * Whether data may be used on an occasion: consent, use, reach, residency, licence, in this order.
 * @param withdrawn consents that the member of this node has taken back, under any id
 * @returns rejection CONSENT_WITHDRAWN, CONSENT_PENDING, CONSENT_EXPIRED, USE_NOT_ALLOWED, RESIDENCY,
 *   LICENCE_UNKNOWN or LICENCE_NOT_CARRIED, in one sentence that says what to do
 */
export function admit(record: DatasetRecord, occasion: Occasion, withdrawn: readonly Withdrawn[]): Verdict<void> {
  const checks = [
    () => notWithdrawn(record, withdrawn),
    () => inForce(record, occasion),
    () => allowed(record, occasion.demands),
    () => resident(record, occasion),
    () => carried(record, occasion.demands),
  ]
  for (const check of checks) {
    const verdict = check()
    if (!verdict.ok) return verdict
  }
  return accept(undefined)
}

/**
 * Whether the records of one contribution may be used together.
 * @returns rejection LICENCE_CLASH when no licence at all could carry them together, else as {@link admit}
 */
export function admitTogether(
  records: readonly DatasetRecord[],
  occasion: Occasion,
  withdrawn: readonly Withdrawn[],
): Verdict<void> {
  const clash = clashOf(records)
  if (clash !== undefined) return { ok: false, rejection: clash }
  for (const record of records) {
    const verdict = admit(record, occasion, withdrawn)
    if (!verdict.ok) return verdict
  }
  return accept(undefined)
}

/**
 * A withdrawal takes back a consent and what was done on the strength of it: a record over the same text, or
 * resting on the same evidence, is the same dataset under another id. Only a consent that is given anew, after the
 * withdrawal and on other evidence, opens it again. A licence or statute that many datasets rest on is no such evidence.
 */
function notWithdrawn(record: DatasetRecord, withdrawn: readonly Withdrawn[]): Verdict<void> {
  const { consent, content } = record
  for (const { at, ...gone } of withdrawn) {
    const renewed = consent.evidence !== gone.evidence && startOf(consent.granted) >= startOf(dayOf(at))
    const named = record.node === gone.node && record.id === gone.id
    const same = named || content === gone.content || restsOn(consent, gone.evidence)
    if (!same || renewed) continue
    return reject(
      'CONSENT_WITHDRAWN',
      `"${record.id}" is a dataset whose consent was withdrawn on ${dayOf(at)}: it needs a new consent on new evidence`,
    )
  }
  return accept(undefined)
}

/** Whether a consent falls with this evidence. */
export function restsOn({ kind, evidence }: Consent, gone: Digest): boolean {
  const shared = kind === 'licence' || kind === 'statute' || kind === 'public-domain'
  return !shared && evidence === gone
}

function inForce({ id, consent }: DatasetRecord, { now, until }: Occasion): Verdict<void> {
  if (startOf(consent.granted) > now) {
    return reject('CONSENT_PENDING', `consent for "${id}" begins on ${consent.granted}: wait, or correct the date`)
  }
  if (consent.expires === undefined || endOf(consent.expires) >= until) return accept(undefined)
  const when = endOf(consent.expires) <= now ? 'ended' : 'ends before this round can be merged,'
  return reject(
    'CONSENT_EXPIRED',
    `consent for "${id}" ${when} on ${consent.expires}: renew it and declare the new date`,
  )
}

function allowed({ id, uses, stages }: DatasetRecord, demands: Demands): Verdict<void> {
  const use = demands.uses.find((one) => !uses.includes(one))
  if (use !== undefined) {
    return reject('USE_NOT_ALLOWED', `"${id}" allows ${uses.join(', ')}, not ${use}: ask its authority to allow that`)
  }
  if (stages === undefined || stages.includes(demands.stage)) return accept(undefined)
  return reject(
    'USE_NOT_ALLOWED',
    `"${id}" may reach ${stages.join(', ')} models, not ${demands.stage} ones: take it to a run of its own reach`,
  )
}

function resident({ id, residency }: DatasetRecord, { demands, trainedIn }: Occasion): Verdict<void> {
  const training = outside(residency?.training, trainedIn)
  if (training !== undefined) {
    return reject(
      'RESIDENCY',
      `"${id}" may be trained on in ${training}, not where this node is: ${placeOf(trainedIn)}`,
    )
  }
  const coordination = outside(residency?.coordination, demands.coordinatedIn)
  if (coordination === undefined) return accept(undefined)
  const where = placeOf(demands.coordinatedIn)
  return reject('RESIDENCY', `"${id}" may be coordinated in ${coordination}, not where this run is: ${where}`)
}

/** The places that are allowed, when this is none of them. An unknown place lies nowhere. */
function outside(areas: readonly Jurisdiction[] | undefined, place: Jurisdiction | null): string | undefined {
  if (areas === undefined || (place !== null && areas.some((area) => liesWithin(place, area)))) return undefined
  return areas.join(', ')
}

const placeOf = (place: Jurisdiction | null) => place ?? 'unknown; the operator has to declare it'

function carried({ id, licence, licenceClasses }: DatasetRecord, { licence: release }: Demands): Verdict<void> {
  const terms = licenceTerms(licence, licenceClasses)
  const verdict = terms.ok ? carriedBy(terms.value, release) : terms
  if (verdict.ok) return accept(undefined)
  return reject(verdict.rejection.reason, `"${id}": ${verdict.rejection.detail}`)
}

function clashOf(records: readonly DatasetRecord[]): Rejection | undefined {
  const known = records.flatMap((record) => {
    const terms = licenceTerms(record.licence, record.licenceClasses)
    return terms.ok ? [{ record, terms: terms.value }] : []
  })
  if (canMeet(known.map(({ terms }) => terms))) return undefined
  const names = [...new Set(known.map(({ record }) => `${record.licence} ("${record.id}")`))].slice(0, 4).join(', ')
  return {
    reason: 'LICENCE_CLASH',
    detail: `no licence can carry ${names} together: contribute them in separate runs`.slice(0, 400),
  }
}
