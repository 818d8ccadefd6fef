import { z } from 'zod'
import { ContributionService, SummaryKey, type SummaryRow } from '../../gen/proto/tapestry/v1/contribution_pb.ts'
import { defineCommand, setting } from '../command.ts'
import { runId } from '../input.ts'
import { OPERATOR_INPUT, OPERATOR_OPTIONS, withOperator } from '../operator-client.ts'
import { changeText } from '../round-view.ts'
import { printable, table } from '../terminal.ts'

const KEYS = {
  language: SummaryKey.LANGUAGE,
  community: SummaryKey.COMMUNITY,
  node: SummaryKey.NODE,
  round: SummaryKey.ROUND,
} as const

const NAMES = ['language', 'community', 'node', 'round'] as const satisfies readonly (keyof typeof KEYS)[]

export const contributions = defineCommand({
  path: 'contributions',
  summary: 'what has been contributed, added up',
  options: [
    ...OPERATOR_OPTIONS(),
    setting('--by <what>', 'what to add up by (language)').choices(NAMES),
    setting('--run <run>', 'only this run'),
  ],
  input: z.object({ ...OPERATOR_INPUT, by: z.enum(NAMES).default('language'), run: runId.optional() }),
  async run({ by, run, ...access }, { env }) {
    const { rows } = await withOperator(access, env, (client) =>
      client.call(ContributionService.method.summarizeContributions, { by: KEYS[by], run: run ?? '' }),
    )
    return { json: rows.map(rowJson), text: rowsTable(by, rows) }
  },
})

function rowJson(row: SummaryRow) {
  const { key, lossBefore, lossAfter } = row
  const counts = { accepted: Number(row.accepted), rejected: Number(row.rejected), tokens: Number(row.tokens) }
  const losses = { lossBefore: lossBefore ?? null, lossAfter: lossAfter ?? null }
  return { key, ...counts, documents: Number(row.documents), ...losses }
}

function rowsTable(by: string, rows: readonly SummaryRow[]): string {
  const titles = ['ACCEPTED', 'REJECTED', 'TOKENS', 'DOCUMENTS', 'LOSS BEFORE', 'LOSS AFTER', 'CHANGE']
  return table(
    [{ title: by.toUpperCase() }, ...titles.map((title) => ({ title, align: 'right' as const }))],
    rows.map((row) => [
      row.key === '' ? '(none declared)' : printable(row.key),
      ...[row.accepted, row.rejected, row.tokens, row.documents].map(String),
      row.lossBefore?.toFixed(3) ?? '-',
      row.lossAfter?.toFixed(3) ?? '-',
      row.lossBefore === undefined || row.lossAfter === undefined ? '-' : changeText(row.lossBefore, row.lossAfter),
    ]),
  )
}
