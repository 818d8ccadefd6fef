import type { Context } from '../context.ts'
import { TapestryError } from '../core/error.ts'
import { ensureRunId } from '../core/ids.ts'
import { type SummarizeContributionsRequest, SummaryKey } from '../gen/proto/tapestry/v1/contribution_pb.ts'
import type { SummaryBy } from '../store/records.ts'
import type { NodePrincipal, OperatorPrincipal } from './auth.ts'

const KEYS: Partial<Record<SummaryKey, SummaryBy>> = {
  [SummaryKey.LANGUAGE]: 'language',
  [SummaryKey.COMMUNITY]: 'community',
  [SummaryKey.NODE]: 'node',
  [SummaryKey.ROUND]: 'round',
}

/** Adds contributions up. Operators see all of them, a node its own. */
export async function summarizeContributions(
  context: Context,
  request: SummarizeContributionsRequest,
  principal: NodePrincipal | OperatorPrincipal,
) {
  const by = KEYS[request.by]
  if (by === undefined) throw new TapestryError('INVALID_ARGUMENT', 'say what to add up by')
  const rows = await context.store.reader.summary(by, {
    ...(request.run === '' ? {} : { run: ensureRunId(request.run) }),
    ...(principal.kind === 'node' ? { node: principal.node.id } : {}),
  })
  return {
    rows: rows.map((row) => ({
      key: row.key,
      accepted: BigInt(row.accepted),
      rejected: BigInt(row.rejected),
      tokens: BigInt(row.tokens),
      documents: BigInt(row.documents),
      ...(row.lossBefore === null ? {} : { lossBefore: row.lossBefore }),
      ...(row.lossAfter === null ? {} : { lossAfter: row.lossAfter }),
    })),
  }
}
