import type { Diagnostics } from '../aggregation/diagnostics.ts'
import type { Context } from '../context.ts'
import { TapestryError } from '../core/error.ts'
import type { NodeId, RoundKey } from '../core/ids.ts'
import type { GetRoundRequest } from '../gen/proto/tapestry/v1/round_pb.ts'
import { gateBytes } from '../model/manifest.ts'
import { gateResultOf } from '../policy/gate-result.ts'
import type { WeightRecord } from '../policy/influence.ts'
import { poolScores, type Verdict } from '../policy/release.ts'
import { contributionsIn } from '../store/contributions-in.ts'
import type { ContributionRow, EvaluationRow, LanguageReportRow, NodeRow, RejectionRow } from '../store/records.ts'
import { roundKeyOf, roundMessage, scoreMessage } from './message.ts'
import { overrideState } from './override-round.ts'

/** One round with every node's part in it and the scores per language. */
export async function getRound(context: Context, request: GetRoundRequest) {
  const key = roundKeyOf(request.ref)
  const { reader } = context.store
  const row = await reader.round(key)
  if (row === undefined) throw new TapestryError('NOT_FOUND', `there is no round ${key.number} in run ${key.run}`)
  const [contributions, rejections, evaluations, diagnostics, record, nodes] = await Promise.all([
    contributionsIn(reader, key, row.round),
    reader.rejections(key),
    reader.evaluations(key),
    reader.diagnostics(key),
    reader.gateRecord(key),
    reader.nodes(),
  ])
  const byId = new Map(nodes.map((node) => [node.id, node]))
  return {
    round: roundMessage(row),
    ...(diagnostics && { diagnostics: diagnosticsMessage(diagnostics) }),
    contributions: [
      ...contributions.map((contribution) => acceptedSummary(contribution, key, byId)),
      ...finalRefusals(contributions, rejections).map((rejection) => refusedSummary(rejection, byId)),
    ],
    languages: record?.languages.map((one) => verdictMessage(one, record.confidence)) ?? pooledMessages(evaluations),
    communities: record?.communities.map((one) => verdictMessage(one, record.confidence)) ?? [],
    ...(record && { gate: gateBytes(gateResultOf(record)) }),
    override: await overrideState(reader, key, context.clock.now()),
  }
}

/** Scores as they stand before the decision. */
function pooledMessages(evaluations: readonly EvaluationRow[]) {
  const measurements = evaluations.map((row) => ({ ...row, voice: row.measuredBy }))
  return poolScores(measurements).map(({ language, base, candidate, measuredBy }) => ({
    language,
    base: scoreMessage(base),
    candidate: scoreMessage(candidate),
    measuredBy,
  }))
}

function verdictMessage(
  { language, community, verdict, base, candidate, evidence, ...whom }: Verdict,
  confidence: number,
) {
  return {
    ...{ language, community, verdict, ...whom },
    ...(base && { base: scoreMessage(base) }),
    ...(candidate && { candidate: scoreMessage(candidate) }),
    ...(evidence && { ...evidence, confidence }),
  }
}

function diagnosticsMessage({ elements, comparedElements, contributions, cosines, ...rest }: Diagnostics) {
  return {
    ...rest,
    elements: BigInt(elements),
    comparedElements: BigInt(comparedElements),
    contributions: contributions.map(({ coefficient, agreement, ...one }) => ({
      ...one,
      ...(coefficient !== null && { coefficient }),
      ...(agreement !== null && { agreement }),
    })),
    cosines: cosines?.flat() ?? [],
  }
}

/** The last refusal of each node that was never accepted: what became of its part. */
function finalRefusals(contributions: readonly ContributionRow[], rejections: readonly RejectionRow[]) {
  const accepted = new Set(contributions.map((contribution) => contribution.node))
  const last = new Map<NodeId, RejectionRow>()
  for (const rejection of rejections) {
    if (rejection.kind === 'contribution' && !accepted.has(rejection.node)) last.set(rejection.node, rejection)
  }
  return [...last.values()]
}

function acceptedSummary(contribution: ContributionRow, asked: RoundKey, nodes: ReadonlyMap<NodeId, NodeRow>) {
  const { number } = contribution.key
  return {
    ...whoIs(contribution.node, nodes),
    contribution: contribution.id,
    round: number === asked.number ? 0 : number,
    status: contribution.revocation === undefined ? 'accepted' : 'revoked',
    weight: contribution.weight?.value ?? 0,
    weightReason: contribution.weight?.reason ?? '',
    ...(contribution.weight?.decision && { weightDecision: decisionMessage(contribution.weight.decision) }),
    bytes: BigInt(contribution.bytes),
    norm: contribution.norm,
    payloadDigest: contribution.payload,
    languages: contribution.languages.map(languageMessage),
  }
}

function decisionMessage({ claimed, tokens, jurisdiction, quality, below, peers = '', ...rest }: WeightRecord) {
  return {
    ...rest,
    claimedTokens: claimed,
    countedTokens: tokens,
    jurisdiction: jurisdiction ?? '',
    ...(quality !== null && { quality }),
    belowFloor: below ?? '',
    peers,
  }
}

function refusedSummary({ node, reason, detail }: RejectionRow, nodes: ReadonlyMap<NodeId, NodeRow>) {
  return { ...whoIs(node, nodes), status: 'rejected', rejection: { reason, detail } }
}

function whoIs(node: NodeId, nodes: ReadonlyMap<NodeId, NodeRow>) {
  const row = nodes.get(node)
  return { node, nodeName: row?.name ?? '', member: row?.member ?? '' }
}

function languageMessage(report: LanguageReportRow) {
  return {
    language: report.language,
    community: report.community,
    tokens: BigInt(report.tokens),
    documents: BigInt(report.documents),
    before: scoreMessage(report.before),
    after: scoreMessage(report.after),
  }
}
