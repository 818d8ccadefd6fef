import { z } from 'zod'
import { ensureDigest } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import { ensureNodeId, ensureRunId, type RoundKey } from '../core/ids.ts'
import { ensureLanguageTag } from '../core/language-tag.ts'
import { compareText } from '../core/order.ts'
import { REJECTION_REASONS } from '../core/rejection.ts'
import type { Contribution, ContributionLanguage, ContributionRecord, Rejection } from '../gen/prisma/client.ts'
import { weightDecisionSchema } from '../policy/influence.ts'
import { parseStored, toCount, toMeasure, toText } from './column.ts'
import type { Database } from './database.ts'
import { byMeasurer, evaluationColumns, evaluationKey, evaluationRow } from './evaluation-column.ts'
import type { Reader } from './reader.ts'
import type { ContributionRow, LanguageReportRow, RecordTokensRow, RejectionRow, WeightRow } from './records.ts'
import { roundOf } from './rounds.ts'
import type { Tx } from './store.ts'

type Reads = Pick<
  Reader,
  | 'contributions'
  | 'contributionOf'
  | 'contribution'
  | 'contributionsOf'
  | 'remerged'
  | 'payloadUses'
  | 'payloadOwners'
  | 'isRevoked'
  | 'rejections'
  | 'evaluations'
>
type Writes = Pick<
  Tx,
  | 'createContributions'
  | 'contributionByNonce'
  | 'removeContribution'
  | 'setWeights'
  | 'setRemergeWeight'
  | 'createRejection'
  | 'putEvaluations'
>

/** Some 4 MiB of reasons and records. */
const WEIGHTS_A_STATEMENT = 2000

const WITH_PARTS = { include: { languages: true, records: true } } as const

const Kind = z.enum(['upload', 'contribution', 'evaluation', 'review'])
const Reason = z.enum(REJECTION_REASONS)

/** What nodes sent for a round: questions. */
export function submissionReads(database: Database): Reads {
  return {
    contributions: async (key) => {
      const rows = await database.contribution.findMany({ where: roundOf(key), ...WITH_PARTS })
      return rows.map(contributionRow).sort(byPlace)
    },
    contribution: async (id) => {
      const row = await database.contribution.findUnique({ where: { id }, ...WITH_PARTS })
      return row === null ? undefined : contributionRow(row)
    },
    contributionsOf: async (node, dataset) => {
      const used = dataset && { records: { some: { record: { recordId: dataset, nodeId: node } } } }
      const rows = await database.contribution.findMany({ where: { nodeId: node, ...used }, ...WITH_PARTS })
      return rows.map(contributionRow).sort(byPlace)
    },
    remerged: async ({ run, number }) => {
      const rows = await database.remerge.findMany({
        where: { runId: run, revision: number },
        include: { contribution: WITH_PARTS },
      })
      return rows.map((row) => ({ ...contributionRow(row.contribution), weight: weightRow(row) })).sort(byPlace)
    },
    contributionOf: async (key, node) => {
      const where = { runId_round_nodeId: { ...roundOf(key), nodeId: node } }
      const row = await database.contribution.findUnique({ where, ...WITH_PARTS })
      return row === null ? undefined : contributionRow(row)
    },
    payloadUses: async (payloads) => {
      const rows = await database.contribution.findMany({
        where: { payloadDigest: { in: [...payloads] } },
        select: { payloadDigest: true, nodeId: true, revocation: true },
      })
      return rows.map(({ payloadDigest, nodeId, revocation }) => {
        return { payload: ensureDigest(payloadDigest), node: ensureNodeId(nodeId), revoked: revocation !== null }
      })
    },
    payloadOwners: async (payload) => {
      const rows = await database.contribution.findMany({
        where: { payloadDigest: payload },
        select: { nodeId: true },
        distinct: ['nodeId'],
      })
      return rows.map(({ nodeId }) => ensureNodeId(nodeId))
    },
    isRevoked: async (payload) => {
      const where = { payloadDigest: payload, revocation: { not: null } }
      return (await database.contribution.findFirst({ where, select: { id: true } })) !== null
    },
    rejections: async (key) => {
      const rows = await database.rejection.findMany({ where: roundOf(key), orderBy: { id: 'asc' } })
      return rows.map(rejectionRow)
    },
    evaluations: async (key) => {
      const rows = await database.evaluation.findMany({ where: roundOf(key) })
      return rows.map(evaluationRow).sort(byMeasurer)
    },
  }
}

/** What nodes sent for a round: changes. */
export function submissionWrites(database: Database): Writes {
  return {
    createContributions: async (rows) => {
      if (rows.length === 0) return
      await database.contribution.createMany({ data: rows.map(contributionColumns) })
      const languages = rows.flatMap(({ id, languages }) => languages.map((report) => languageColumns(id, report)))
      if (languages.length > 0) await database.contributionLanguage.createMany({ data: languages })
      const records = rows.flatMap((row) =>
        row.records.map(({ record, language, tokens }) => {
          return { contributionId: row.id, recordDigest: record, language, tokens: toCount(tokens) }
        }),
      )
      if (records.length > 0) await database.contributionRecord.createMany({ data: records })
    },
    contributionByNonce: async (node, nonce) => {
      const where = { nodeId_nonce: { nodeId: node, nonce } }
      const row = await database.contribution.findUnique({ where, ...WITH_PARTS })
      return row === null ? undefined : contributionRow(row)
    },
    removeContribution: async (key, node) => {
      const row = await database.contribution.findFirst({ where: { ...roundOf(key), nodeId: node } })
      if (row === null) return undefined
      await database.contributionLanguage.deleteMany({ where: { contributionId: row.id } })
      await database.contributionRecord.deleteMany({ where: { contributionId: row.id } })
      await database.review.deleteMany({ where: { contributionId: row.id } })
      await database.contribution.delete({ where: { id: row.id } })
      return ensureDigest(row.id)
    },
    setWeights: async (weights) => {
      for (let at = 0; at < weights.length; at += WEIGHTS_A_STATEMENT) {
        await setWeights(database, weights.slice(at, at + WEIGHTS_A_STATEMENT))
      }
    },
    setRemergeWeight: async ({ run, number }, contribution, weight) => {
      const place = { runId: run, revision: number, contributionId: contribution }
      const where = { runId_revision_contributionId: place }
      await database.remerge.update({ where, data: weightColumns(weight) })
    },
    createRejection: async (row) => {
      const { node, kind, reason } = row
      const round = row.key === null ? {} : roundOf(row.key)
      const detail = toText(row.detail)
      await database.rejection.createMany({
        data: [{ ...round, nodeId: node, kind, reason, detail, at: new Date(row.at) }],
      })
    },
    putEvaluations: async (rows) => {
      if (rows.length === 0) return
      await database.evaluation.deleteMany({ where: { OR: rows.map(evaluationKey) } })
      await database.evaluation.createMany({ data: rows.map(evaluationColumns) })
    },
  }
}

/** In one statement, so that the merge of a large round does not outlast its transaction. */
async function setWeights(
  database: Database,
  weights: readonly { readonly id: string; readonly weight: WeightRow }[],
): Promise<void> {
  const rows = weights.map(({ id, weight }) => ({ id, ...weightColumns(weight) }))
  const set = await database.$executeRaw`
    UPDATE contribution SET weight = decided.weight, weight_reason = decided."weightReason", 
      weight_record = coalesce(decided."weightRecord", contribution.weight_record)
    FROM jsonb_to_recordset(${JSON.stringify(rows)}::jsonb)
      AS decided(id text, weight double precision, "weightReason" text, "weightRecord" jsonb)
    WHERE contribution.id = decided.id`
  if (set !== rows.length) throw new TapestryError('NOT_FOUND', 'a contribution that was weighed is gone')
}

function contributionColumns(row: ContributionRow) {
  return {
    id: row.id,
    ...roundOf(row.key),
    nodeId: row.node,
    manifest: row.manifest,
    signature: row.signature.value,
    keyId: row.signature.keyId,
    nonce: row.nonce,
    payloadDigest: row.payload,
    bytes: toCount(row.bytes),
    norm: toMeasure(row.norm),
    ...(row.weight && weightColumns(row.weight)),
    acceptedAt: new Date(row.acceptedAt),
  }
}

function weightColumns({ value, reason, decision }: WeightRow) {
  return { weight: toMeasure(value), weightReason: reason, ...(decision && { weightRecord: decision }) }
}

function weightRow({
  weight,
  weightReason,
  weightRecord,
}: Pick<Contribution, 'weight' | 'weightReason' | 'weightRecord'>): WeightRow | null {
  if (weight === null) return null
  const decision = weightRecord === null ? null : parseStored(weightDecisionSchema, weightRecord, 'weight decision')
  return { value: weight, reason: weightReason ?? '', decision }
}

function contributionRow(
  row: Contribution & { languages: ContributionLanguage[]; records: ContributionRecord[] },
): ContributionRow {
  return {
    id: ensureDigest(row.id),
    key: keyOf(row.runId, row.round),
    node: ensureNodeId(row.nodeId),
    manifest: row.manifest,
    signature: { keyId: row.keyId, value: row.signature },
    nonce: row.nonce,
    payload: ensureDigest(row.payloadDigest),
    bytes: Number(row.bytes),
    norm: row.norm,
    weight: weightRow(row),
    languages: row.languages.map(languageRow).sort(byLanguage),
    records: row.records.map(recordTokensRow).sort(byRecord),
    acceptedAt: row.acceptedAt.getTime(),
    ...(row.revocation !== null && { revocation: row.revocation }),
  }
}

function languageColumns(contributionId: string, report: LanguageReportRow) {
  return {
    contributionId,
    language: report.language,
    community: report.community,
    tokens: toCount(report.tokens),
    documents: toCount(report.documents),
    heldOutTokens: toCount(report.before.tokens),
    lossBefore: toMeasure(report.before.mean),
    lossBeforeSe: toMeasure(report.before.standardError),
    lossAfter: toMeasure(report.after.mean),
    lossAfterSe: toMeasure(report.after.standardError),
  }
}

function languageRow(row: ContributionLanguage): LanguageReportRow {
  const tokens = Number(row.heldOutTokens)
  return {
    language: ensureLanguageTag(row.language),
    community: row.community,
    tokens: Number(row.tokens),
    documents: Number(row.documents),
    before: { mean: row.lossBefore, standardError: row.lossBeforeSe, tokens },
    after: { mean: row.lossAfter, standardError: row.lossAfterSe, tokens },
  }
}

function recordTokensRow({ recordDigest, language, tokens }: ContributionRecord): RecordTokensRow {
  return { record: ensureDigest(recordDigest), language: ensureLanguageTag(language), tokens: Number(tokens) }
}

function rejectionRow(row: Rejection): RejectionRow {
  return {
    key: row.runId === null || row.round === null ? null : keyOf(row.runId, row.round),
    node: ensureNodeId(row.nodeId),
    kind: parseStored(Kind, row.kind, 'kind of submission'),
    reason: parseStored(Reason, row.reason, 'rejection reason'),
    detail: row.detail,
    at: row.at.getTime(),
  }
}

function keyOf(run: string, number: number): RoundKey {
  return { run: ensureRunId(run), number }
}

function byPlace(a: ContributionRow, b: ContributionRow): number {
  return compareText(a.key.run, b.key.run) || a.key.number - b.key.number || compareText(a.node, b.node)
}

function byLanguage(a: LanguageReportRow, b: LanguageReportRow): number {
  return compareText(a.language, b.language) || compareText(a.community, b.community)
}

function byRecord(a: RecordTokensRow, b: RecordTokensRow): number {
  return compareText(a.record, b.record) || compareText(a.language, b.language)
}
