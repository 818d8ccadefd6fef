import { TapestryError } from './error.ts'

declare const jurisdictionBrand: unique symbol

/**
 * A place whose law applies: an ISO 3166-1 alpha-2 code such as `KE`, an ISO 3166-2 subdivision such as
 * `CA-QC`, or `EU` (reserved in ISO 3166-1) for any member state of the European Union.
 */
export type Jurisdiction = string & { readonly [jurisdictionBrand]: true }

/** ISO 3166-1:2020, officially assigned alpha-2 codes. */
const COUNTRIES = new Set(
  (
    'AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ ' +
    'CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR ' +
    'GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO ' +
    'JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR ' +
    'MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO ' +
    'RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV ' +
    'TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW'
  ).split(' '),
)

/** Member states since 1 February 2020. */
const EUROPEAN_UNION = new Set(
  'AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK'.split(' '),
)

const FORM = /^([A-Z]{2})(?:-[A-Z0-9]{1,3})?$/

/** @throws TapestryError INVALID_ARGUMENT for text that is not such a code. Subdivisions are checked by form only. */
export function ensureJurisdiction(text: string): Jurisdiction {
  const country = FORM.exec(text)?.[1]
  if (text === 'EU' || (country !== undefined && COUNTRIES.has(country))) return text as Jurisdiction
  throw new TapestryError(
    'INVALID_ARGUMENT',
    `not a jurisdiction: "${text.slice(0, 40)}" (expected ISO 3166, such as KE or CA-QC, or EU)`,
  )
}

/** Whether `place` is `area` or lies in it: CA-QC in CA, FR in EU. */
export function liesWithin(place: Jurisdiction, area: Jurisdiction): boolean {
  if (place === area || place.startsWith(`${area}-`)) return true
  return area === 'EU' && EUROPEAN_UNION.has(place.slice(0, 2))
}
