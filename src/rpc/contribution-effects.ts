import { type LanguageEffects, languageEffects } from '../aggregation/language-effects.ts'
import { assertNever } from '../core/assert.ts'
import type { RoundKey } from '../core/ids.ts'
import type { Reader } from '../store/reader.ts'
import type { ContributionRow, LanguageReportRow, SummaryBy } from '../store/records.ts'

/** Accounts go back this far in time; a run of minutes a round fills it in days, and its last rounds tell the most. */
const MOST_ROUNDS = 1_000

type Filter = Parameters<Reader['summary']>[1]
/** Estimated effects by the key of a row, then by language. */
export type EffectsByKey = ReadonlyMap<string, ReadonlyMap<string, number>>

/**
 * Adds up what contributions did to each language of the models that were released, by the keys of the accounts. One
 * that counts to several keys is divided among them by its tokens, like its weight.
 */
export async function contributionEffects(reader: Reader, by: SummaryBy, filter: Filter): Promise<EffectsByKey> {
  const ofRun = filter.run === undefined ? {} : { run: filter.run }
  const rounds = await reader.rounds({ ...ofRun, phases: ['published'], limit: MOST_ROUNDS })
  const home = await homes(reader)
  const sums = new Map<string, Map<string, number>>()
  for (const { key } of rounds) {
    const rows = await reader.contributions(key)
    const effects = await effectsOf(reader, key, rows)
    for (const row of rows.filter(({ node }) => filter.node === undefined || node === filter.node)) {
      for (const [language, effect] of effects.get(row.node) ?? []) {
        for (const [name, part] of partsBy(by, row, home)) addTo(sums, name, language, part * effect)
      }
    }
  }
  return sums
}

function addTo(sums: Map<string, Map<string, number>>, key: string, language: string, value: number): void {
  const of = sums.get(key) ?? new Map<string, number>()
  sums.set(key, of.set(language, (of.get(language) ?? 0) + value))
}

async function effectsOf(reader: Reader, key: RoundKey, rows: readonly ContributionRow[]): Promise<LanguageEffects> {
  const [diagnostics, record] = await Promise.all([reader.diagnostics(key), reader.gateRecord(key)])
  if (diagnostics === undefined || record === undefined) return new Map()
  const trained = new Map(rows.map((row) => [row.node, Object.fromEntries(partsOf(row, ({ language }) => language))]))
  const changes = record.languages.flatMap(({ language, evidence }): [string, number][] =>
    evidence === null ? [] : [[language, evidence.difference]],
  )
  return languageEffects(diagnostics, trained, new Map(changes))
}

type Homes = ReadonlyMap<string, { readonly member: string; readonly jurisdiction: string }>

async function homes(reader: Reader): Promise<Homes> {
  const [nodes, members] = await Promise.all([reader.nodes(), reader.members()])
  const where = new Map(members.map(({ id, jurisdiction }) => [id, jurisdiction ?? '']))
  return new Map(nodes.map(({ id, member }) => [id, { member, jurisdiction: where.get(member) ?? '' }]))
}

function partsBy(by: SummaryBy, row: ContributionRow, home: Homes): ReadonlyMap<string, number> {
  switch (by) {
    case 'language':
      return partsOf(row, ({ language }) => language)
    case 'community':
      return partsOf(row, ({ community }) => community)
    case 'node':
      return new Map([[row.node, 1]])
    case 'member':
      return new Map([[home.get(row.node)?.member ?? '', 1]])
    case 'jurisdiction':
      return new Map([[home.get(row.node)?.jurisdiction ?? '', 1]])
    case 'round':
      return new Map([[`${row.key.run}/${row.key.number}`, 1]])
    default:
      return assertNever(by)
  }
}

/** Parts of a contribution by tokens; equal parts where it names no tokens. They add up to 1. */
function partsOf({ languages }: ContributionRow, keyOf: (report: LanguageReportRow) => string) {
  const tokens = languages.reduce((sum, report) => sum + report.tokens, 0)
  const parts = new Map<string, number>()
  for (const report of languages) {
    const part = tokens > 0 ? report.tokens / tokens : 1 / languages.length
    parts.set(keyOf(report), (parts.get(keyOf(report)) ?? 0) + part)
  }
  return parts
}
