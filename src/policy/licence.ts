import parse, { type Info } from 'spdx-expression-parse'
import { TapestryError } from '../core/error.ts'
import { accept, reject, type Verdict } from '../core/rejection.ts'
import { LICENCES, type Licence, type LicenceClass } from './licence-table.ts'

/** What an expression allows: one of several ways, each of which is all of its licences at once. */
export type Terms = readonly (readonly Licence[])[]

/** Classes that a steward declares for the LicenseRefs of an expression. */
export type DeclaredClasses = Readonly<Record<string, LicenceClass>>

/** `(a OR b) AND (c OR d) ...` multiplies: beyond this an expression is an attack or a mistake. */
const MAX_WAYS = 64
const MAX_EXPRESSION = 500

const REFERENCE = /^LicenseRef-[A-Za-z0-9.-]{1,80}$/

/**
 * Reads an SPDX licence expression (SPDX 2.3, annex D). OR gives ways to choose from, AND binds all, an exception
 * WITH a licence only allows more, so that the licence alone is the careful reading.
 * @param declared classes of LicenseRefs; one without a class is unknown
 * @returns rejection LICENCE_UNKNOWN when no way consists of known licences alone
 */
export function licenceTerms(expression: string, declared: DeclaredClasses = {}): Verdict<Terms> {
  const parsed = parseExpression(expression)
  if (parsed === undefined) return unknown(expression)
  const ways = waysOf(parsed)
  if (ways === undefined) return unknown(expression)
  const known = ways.flatMap((ids) => {
    const licences = ids.map((id) => licenceOf(id, declared))
    return licences.every((licence) => licence !== undefined) ? [licences] : []
  })
  return known.length > 0 ? accept(known) : unknown(expression)
}

/** A licence that checkpoints can be released under. @throws TapestryError INVALID_ARGUMENT for any other text. */
export function ensureReleaseLicence(id: string): string {
  if (LICENCES.has(id) || REFERENCE.test(id)) return id
  throw new TapestryError(
    'INVALID_ARGUMENT',
    `no licence that checkpoints can be released under: "${id.slice(0, 80)}"`,
    {
      hint: 'name one SPDX id, such as Apache-2.0 or CC-BY-SA-4.0, or a LicenseRef',
    },
  )
}

/** Whether checkpoints under `release` may come from data under these terms. @returns LICENCE_NOT_CARRIED if not */
export function carriedBy(terms: Terms, release: string): Verdict<readonly Licence[]> {
  const way = terms.find((licences) => licences.every((licence) => carries(release, licence)))
  if (way !== undefined) return accept(way)
  const [binding] = terms[0]?.filter((licence) => !carries(release, licence)) ?? []
  return reject('LICENCE_NOT_CARRIED', `${binding?.id} (${binding?.class}) cannot go into a model under ${release}`)
}

/** True when some licence could carry all of these at once, leaving out what nothing can carry by itself. */
export function canMeet(all: readonly Terms[]): boolean {
  const references = all.flat(2).map(({ id }) => id)
  const releases = [...new Set([...LICENCES.keys(), ...references])]
  const carriable = all.filter((terms) => releases.some((release) => carriedBy(terms, release).ok))
  return releases.some((release) => carriable.every((terms) => carriedBy(terms, release).ok))
}

function carries(release: string, licence: Licence): boolean {
  const channel = LICENCES.get(release)?.class ?? 'restricted'
  if (licence.carriers !== undefined) return licence.carriers.includes(release)
  switch (licence.class) {
    case 'public-domain':
      return true
    case 'permissive':
    case 'attribution':
      return channel !== 'public-domain'
    case 'non-commercial':
      return channel === 'non-commercial'
    case 'no-derivatives':
      return false
    default:
      return release === licence.id
  }
}

function licenceOf(id: string, declared: DeclaredClasses): Licence | undefined {
  const known = LICENCES.get(id)
  if (known !== undefined) return known
  const name = REFERENCE.test(id) && Object.hasOwn(declared, id) ? declared[id] : undefined
  if (name === undefined) return undefined
  // Nobody here can know what else would carry the terms of a licence of one's own.
  const binding = name === 'share-alike' || name === 'non-commercial' || name === 'restricted'
  return binding ? { id, class: name, carriers: [id] } : { id, class: name }
}

function parseExpression(expression: string): Info | undefined {
  if (expression.length > MAX_EXPRESSION) return undefined
  try {
    return parse(expression)
  } catch {
    return undefined
  }
}

/** Disjunctive form: lists of licence ids; undefined beyond {@link MAX_WAYS}. */
function waysOf(info: Info): string[][] | undefined {
  if ('license' in info) return [[info.plus === true ? orLater(info.license) : info.license]]
  const left = waysOf(info.left)
  const right = waysOf(info.right)
  if (left === undefined || right === undefined) return undefined
  const ways =
    info.conjunction === 'or' ? [...left, ...right] : left.flatMap((one) => right.map((other) => [...one, ...other]))
  return ways.length <= MAX_WAYS ? ways : undefined
}

/** `GPL-2.0+` is `GPL-2.0-or-later`. Where SPDX has no such id, later versions are already among the carriers. */
function orLater(id: string): string {
  const name = `${id.replace(/-only$/, '')}-or-later`
  return LICENCES.has(name) ? name : id
}

function unknown(expression: string) {
  const text = expression.slice(0, 80)
  return reject(
    'LICENCE_UNKNOWN',
    `"${text}" is no licence that is classified: name an SPDX id, or a LicenseRef and its class`,
  )
}
