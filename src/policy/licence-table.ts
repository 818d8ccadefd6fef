/**
 * What a licence asks of a model trained on data under it. A model is treated as a derivative of its data: the
 * careful reading, taken by this project as its rule; no court is quoted for it.
 *
 * `public-domain`: nothing. `permissive`: keep notices. `attribution`: name the source. `share-alike`: the same
 * licence. `non-commercial`: no commercial use. `no-derivatives`: no model at all. `restricted`: terms of its own.
 */
export const LICENCE_CLASSES = [
  'public-domain',
  'permissive',
  'attribution',
  'share-alike',
  'non-commercial',
  'no-derivatives',
  'restricted',
] as const
export type LicenceClass = (typeof LICENCE_CLASSES)[number]

/** One licence: its class, and the only licences that may carry it where its text names them. */
export type Licence = {
  /** SPDX id, or LicenseRef. */
  readonly id: string
  readonly class: LicenceClass
  /** Undefined: whatever the class allows. */
  readonly carriers?: readonly string[]
}

/**
 * Sources: the licences' own texts at spdx.org/licenses; opendefinition.org/licenses (what is conformant, and which
 * conditions it sets); creativecommons.org/share-your-work/licensing-considerations/compatible-licenses (what
 * BY-SA material may become); gnu.org/licenses/license-list (versions "or later").
 */
const FREE = {
  'public-domain': ['0BSD', 'CC-PDDC', 'CC0-1.0', 'DL-DE-ZERO-2.0', 'MIT-0', 'PDDL-1.0', 'Unlicense'],
  permissive: [
    'AFL-3.0',
    'Apache-2.0',
    'BSD-2-Clause',
    'BSD-3-Clause',
    'BSL-1.0',
    'CDLA-Permissive-1.0',
    'CDLA-Permissive-2.0',
    'ISC',
    'MIT',
    'MulanPSL-2.0',
    'NCSA',
    'PostgreSQL',
    'UPL-1.0',
    'Unicode-3.0',
    'Unicode-DFS-2016',
    'Zlib',
  ],
  attribution: [
    ...['1.0', '2.0', '2.5', '3.0', '4.0', '3.0-AT', '3.0-AU', '3.0-DE', '3.0-IGO', '3.0-NL', '3.0-US'].map(
      (version) => `CC-BY-${version}`,
    ),
    'DL-DE-BY-2.0',
    'NLOD-1.0',
    'NLOD-2.0',
    'ODC-By-1.0',
    'OGL-Canada-2.0',
    'OGL-UK-1.0',
    'OGL-UK-2.0',
    'OGL-UK-3.0',
    'etalab-2.0',
  ],
} as const satisfies Partial<Record<LicenceClass, readonly string[]>>

/** Share-alike licences and what may carry them besides themselves. */
const SHARE_ALIKE: readonly Licence[] = [
  ...creativeCommons('CC-BY-SA', 'share-alike').map((licence) =>
    licence.id === 'CC-BY-SA-4.0'
      ? { ...licence, carriers: [...(licence.carriers ?? []), 'GPL-3.0-only', 'GPL-3.0-or-later', 'LAL-1.3'] }
      : licence,
  ),
  ...orLater('GPL', ['2.0', '3.0']),
  ...orLater('LGPL', ['2.1', '3.0']),
  ...orLater('AGPL', ['3.0']),
  ...orLater('GFDL', ['1.1', '1.2', '1.3']),
  ...['CDLA-Sharing-1.0', 'EUPL-1.2', 'LAL-1.3', 'MPL-2.0', 'ODbL-1.0'].map((id) => shareAlike(id, [id])),
]

const NON_COMMERCIAL: readonly Licence[] = [
  ...['1.0', '2.0', '2.5', '3.0', '4.0'].map((version) => ({
    id: `CC-BY-NC-${version}`,
    class: 'non-commercial' as const,
  })),
  ...creativeCommons('CC-BY-NC-SA', 'non-commercial'),
]

const NO_DERIVATIVES: readonly Licence[] = ['CC-BY-ND', 'CC-BY-NC-ND'].flatMap((family) =>
  ['1.0', '2.0', '2.5', '3.0', '4.0'].map((version) => ({
    id: `${family}-${version}`,
    class: 'no-derivatives' as const,
  })),
)

/** Every licence that is classified here, by SPDX id. */
export const LICENCES: ReadonlyMap<string, Licence> = new Map(
  [
    ...Object.entries(FREE).flatMap(([name, ids]) =>
      ids.map((id): Licence => ({ id, class: name as keyof typeof FREE })),
    ),
    ...SHARE_ALIKE,
    ...NON_COMMERCIAL,
    ...NO_DERIVATIVES,
  ].map((licence) => [licence.id, licence]),
)

/** Later versions may carry earlier ones, but for 1.0, which says nothing of them (4.b of each legal code). */
function creativeCommons(family: string, name: LicenceClass): Licence[] {
  const versions = ['1.0', '2.0', '2.5', '3.0', '4.0']
  return versions.map((version, index) => {
    const later = index === 0 ? [version] : versions.slice(index)
    return { id: `${family}-${version}`, class: name, carriers: later.map((one) => `${family}-${one}`) }
  })
}

/** A GNU family: `-only` is carried by its own version, `-or-later` by any from it on. */
function orLater(family: string, versions: readonly string[]): Licence[] {
  const both = (version: string) => [`${family}-${version}-only`, `${family}-${version}-or-later`]
  return versions.flatMap((version, index) => [
    shareAlike(`${family}-${version}-only`, [`${family}-${version}-only`]),
    shareAlike(`${family}-${version}-or-later`, versions.slice(index).flatMap(both)),
  ])
}

function shareAlike(id: string, carriers: readonly string[]): Licence {
  return { id, class: 'share-alike', carriers }
}
