import { compareText } from '../core/order.ts'
import type { SummarizeContributionsResponse, SummaryRow } from '../gen/proto/tapestry/v1/contribution_pb.ts'
import { changeText } from './round-view.ts'
import { type Column, printable, table } from './terminal.ts'

/** The accounts as JSON. `effects`: by language, nats per token, estimated by `effectMethod`; nulls where nothing was measured. */
export function accountsJson({ rows, effectMethod }: SummarizeContributionsResponse) {
  return rows.map((row) => ({
    key: row.key,
    accepted: Number(row.accepted),
    rejected: Number(row.rejected),
    refusals: Object.fromEntries(refusalsOf(row)),
    tokens: Number(row.tokens),
    documents: Number(row.documents),
    weight: row.weight,
    meanWeight: row.meanWeight ?? null,
    lossBefore: row.lossBefore ?? null,
    lossAfter: row.lossAfter ?? null,
    effects: { ...row.effects },
    effectMethod,
  }))
}

/** The accounts for people. */
export function accountsText(by: string, { rows, effectMethod }: SummarizeContributionsResponse): string {
  const right = (title: string): Column => ({ title, align: 'right' })
  const counts = ['ACCEPTED', 'REFUSED', 'TOKENS', 'DOCUMENTS', 'WEIGHT', 'MEAN WEIGHT', 'LOSS BEFORE', 'LOSS AFTER']
  const columns = [{ title: by.toUpperCase() }, ...counts.map(right), right('CHANGE'), { title: 'EFFECT ON LANGUAGES' }]
  const accounts = table(columns, rows.map(cells))
  const known = rows.some(({ effects }) => Object.keys(effects).length > 0)
  const method = `effect: estimate ${effectMethod}, parts of the measured change in nats per token; below 0 is better`
  return [accounts, ...refusalsText(rows), ...(known ? [method] : [])].join('\n')
}

function cells(row: SummaryRow): string[] {
  const { lossBefore, lossAfter } = row
  return [
    nameOf(row),
    ...[row.accepted, row.rejected, row.tokens, row.documents].map(String),
    row.weight.toFixed(3),
    row.meanWeight?.toFixed(3) ?? '-',
    lossBefore?.toFixed(3) ?? '-',
    lossAfter?.toFixed(3) ?? '-',
    lossBefore === undefined || lossAfter === undefined ? '-' : changeText(lossBefore, lossAfter),
    effectsOf(row)
      .map(([language, effect]) => `${printable(language)} ${effect.toFixed(4)}`)
      .join(', ') || '-',
  ]
}

function refusalsText(rows: readonly SummaryRow[]): string[] {
  return rows
    .filter(({ rejected }) => rejected > 0n)
    .map((row) => {
      const reasons = refusalsOf(row).map(([reason, count]) => `${printable(reason)} ${count}`)
      return `refused, ${nameOf(row)}: ${reasons.join(', ')}`
    })
}

/** One line a row (RFC 4180), a column for each language that there is an effect on. */
export function accountsCsv(by: string, { rows, effectMethod }: SummarizeContributionsResponse): string {
  const languages = [...new Set(rows.flatMap(({ effects }) => Object.keys(effects)))].sort()
  const titles = ['accepted', 'rejected', 'refusals', 'tokens', 'documents', 'weight', 'mean_weight']
  const effects = languages.map((language) => `effect_${language}`)
  const header = [by, ...titles, 'loss_before', 'loss_after', ...effects, 'effect_method']
  const lines = rows.map((row) => [
    row.key,
    ...[row.accepted, row.rejected].map(String),
    refusalsOf(row)
      .map(([reason, count]) => `${reason}=${count}`)
      .join(' '),
    ...[row.tokens, row.documents, row.weight].map(String),
    ...[row.meanWeight, row.lossBefore, row.lossAfter].map((value) => value?.toString() ?? ''),
    ...languages.map((language) => row.effects[language]?.toString() ?? ''),
    effectMethod,
  ])
  return [header, ...lines].map((line) => line.map(field).join(',')).join('\r\n')
}

/** Names are what members wrote: quoted, and never the beginning of a formula in somebody's spreadsheet. */
function field(text: string): string {
  const harmless = /^[=+@\t]/.test(text) || /^-(?![\d.])/.test(text) ? `'${text}` : text
  return /[",\r\n']/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless
}

const nameOf = ({ key }: SummaryRow) => (key === '' ? '(none declared)' : printable(key))

const byName = ([a]: readonly [string, unknown], [b]: readonly [string, unknown]) => compareText(a, b)

const refusalsOf = ({ refusals }: SummaryRow) =>
  Object.entries(refusals)
    .map(([reason, count]): [string, number] => [reason, Number(count)])
    .sort(byName)

const effectsOf = ({ effects }: SummaryRow) => Object.entries(effects).sort(byName)
