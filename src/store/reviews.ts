import { ensureDigest } from '../core/digest.ts'
import { ensureNodeId } from '../core/ids.ts'
import { ensureLanguageTag } from '../core/language-tag.ts'
import { compareText } from '../core/order.ts'
import type { Review } from '../gen/prisma/client.ts'
import { reviewedLanguagesSchema } from '../model/review-report.ts'
import { parseStored } from './column.ts'
import type { Database } from './database.ts'
import type { Reader } from './reader.ts'
import type { ReviewRow } from './records.ts'
import { roundOf } from './rounds.ts'
import type { Tx } from './store.ts'

/** Contributions in the hands of other members' nodes: questions. */
export function reviewReads(database: Database): Pick<Reader, 'reviews' | 'reviewsAsked' | 'isReviewer'> {
  return {
    reviews: async (key) => {
      const rows = await database.review.findMany({ where: roundOf(key) })
      return rows.map(reviewRow).sort(byContribution)
    },
    reviewsAsked: async (key, reviewer) => {
      const own = await database.contributionLanguage.findMany({
        where: { contribution: { ...roundOf(key), nodeId: reviewer } },
        select: { language: true },
      })
      const spoken = new Set(own.map(({ language }) => language.toLowerCase()))
      const rows = await database.review.findMany({
        where: { ...roundOf(key), reviewer },
        orderBy: { contributionId: 'asc' },
        include: { contribution: { include: { languages: { select: { language: true } } } } },
      })
      return rows.map(({ contributionId, at, contribution: { payloadDigest, bytes, languages } }) => {
        const shared = languages.map(({ language }) => language).filter((tag) => spoken.has(tag.toLowerCase()))
        return {
          contribution: ensureDigest(contributionId),
          payload: ensureDigest(payloadDigest),
          bytes: Number(bytes),
          languages: [...new Set(shared)].sort().map(ensureLanguageTag),
          answered: at !== null,
        }
      })
    },
    isReviewer: async (node, payload) => {
      const contribution = { payloadDigest: payload, roundRow: { phase: 'reviewing' } }
      return (await database.review.findFirst({ where: { reviewer: node, at: null, contribution } })) !== null
    },
  }
}

/** Contributions in the hands of other members' nodes: changes. */
export function reviewWrites(database: Database): Pick<Tx, 'createReviews' | 'answerReview' | 'withdrawReviews'> {
  return {
    createReviews: async (key, rows) => {
      const data = rows.map(({ contribution, reviewer }) => {
        return { contributionId: contribution, reviewer, ...roundOf(key) }
      })
      if (data.length > 0) await database.review.createMany({ data })
    },
    withdrawReviews: async (key, reviewer) => {
      await database.review.deleteMany({ where: { ...roundOf(key), reviewer, at: null } })
    },
    answerReview: async ({ contribution, reviewer, languages, report, signature, at }) => {
      const where = { contributionId_reviewer: { contributionId: contribution, reviewer } }
      const columns = { languages: [...languages], report, signature: signature.value, keyId: signature.keyId }
      await database.review.update({ where, data: { ...columns, at: new Date(at) } })
    },
  }
}

function reviewRow({ contributionId, reviewer, languages }: Review): ReviewRow {
  return {
    contribution: ensureDigest(contributionId),
    reviewer: ensureNodeId(reviewer),
    languages: languages === null ? null : parseStored(reviewedLanguagesSchema, languages, 'review'),
  }
}

function byContribution(a: ReviewRow, b: ReviewRow): number {
  return compareText(a.contribution, b.contribution) || compareText(a.reviewer, b.reviewer)
}
