import { EFFECT_METHOD } from '../aggregation/language-effects.ts'
import type { Context } from '../context.ts'
import { TapestryError } from '../core/error.ts'
import { type SummarizeContributionsRequest, SummaryKey } from '../gen/proto/tapestry/v1/contribution_pb.ts'
import type { SummaryBy, SummaryRow } from '../store/records.ts'
import type { NodePrincipal, OperatorPrincipal } from './auth.ts'
import { contributionEffects, type EffectsByKey } from './contribution-effects.ts'
import { runFilter } from './run-filter.ts'

const KEYS: Partial<Record<SummaryKey, SummaryBy>> = {
  [SummaryKey.LANGUAGE]: 'language',
  [SummaryKey.COMMUNITY]: 'community',
  [SummaryKey.NODE]: 'node',
  [SummaryKey.MEMBER]: 'member',
  [SummaryKey.JURISDICTION]: 'jurisdiction',
  [SummaryKey.ROUND]: 'round',
}

/** Adds contributions up. Operators see all of them, a node its own. */
export async function summarizeContributions(
  { store: { reader } }: Context,
  request: SummarizeContributionsRequest,
  principal: NodePrincipal | OperatorPrincipal,
) {
  const by = KEYS[request.by]
  if (by === undefined) throw new TapestryError('INVALID_ARGUMENT', 'say what to add up by')
  const filter = {
    ...(await runFilter(reader, request.run)),
    ...(principal.kind === 'node' ? { node: principal.node.id } : {}),
  }
  const [rows, effects] = await Promise.all([reader.summary(by, filter), contributionEffects(reader, by, filter)])
  return { rows: rows.map((row) => rowMessage(row, effects)), effectMethod: EFFECT_METHOD }
}

function rowMessage(row: SummaryRow, effects: EffectsByKey) {
  const { key, weight, meanWeight, lossBefore, lossAfter } = row
  const counted = Object.entries(row.refusals).map(([reason, count]): [string, bigint] => [reason, BigInt(count)])
  return {
    ...{ key, weight },
    accepted: BigInt(row.accepted),
    rejected: BigInt(row.rejected),
    refusals: Object.fromEntries(counted),
    tokens: BigInt(row.tokens),
    documents: BigInt(row.documents),
    ...(meanWeight !== null && { meanWeight }),
    ...(lossBefore !== null && { lossBefore }),
    ...(lossAfter !== null && { lossAfter }),
    effects: Object.fromEntries(effects.get(key) ?? []),
  }
}
