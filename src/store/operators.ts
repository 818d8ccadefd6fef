import { ensureDigest } from '../core/digest.ts'
import { compareText } from '../core/order.ts'
import { overrideSchema } from '../model/override.ts'
import { parseStored } from './column.ts'
import type { Database } from './database.ts'
import type { Reader } from './reader.ts'
import { roundOf } from './rounds.ts'
import type { Tx } from './store.ts'

type Reads = Pick<Reader, 'operatorRecord' | 'endorsements' | 'releaseOverride'>
type Writes = Pick<Tx, 'createOperatorRecord' | 'putEndorsement' | 'putReleaseOverride'>

/** Who decides together, and what they have signed: questions. */
export function operatorReads(database: Database): Reads {
  return {
    operatorRecord: async () => {
      const row = await database.operatorRecord.findFirst({ orderBy: { version: 'desc' } })
      if (row === null) return undefined
      const { version, digest, record, signature: value, keyId, at } = row
      return { version, digest: ensureDigest(digest), record, signature: { keyId, value }, at: at.getTime() }
    },
    endorsements: async (subject) => {
      const rows = await database.endorsement.findMany({ where: { subject } })
      return rows
        .map(({ keyId, statement, signature: value, at }) => ({
          ...{ subject, keyId, statement },
          signature: { keyId, value },
          at: at.getTime(),
        }))
        .sort((a, b) => compareText(a.keyId, b.keyId))
    },
    releaseOverride: async (key) => {
      const row = await database.releaseOverride.findUnique({ where: { runId_round: roundOf(key) } })
      return row === null ? undefined : parseStored(overrideSchema, row.proof, 'override')
    },
  }
}

/** Who decides together, and what they have signed: changes. */
export function operatorWrites(database: Database): Writes {
  return {
    createOperatorRecord: async ({ version, digest, record, signature, at }) => {
      const { keyId, value } = signature
      const data = { version, digest, record, signature: value, keyId, at: new Date(at) }
      await database.operatorRecord.createMany({ data: [data] })
    },
    putEndorsement: async ({ subject, keyId, statement, signature, at }) => {
      const said = { statement, signature: signature.value, at: new Date(at) }
      const where = { subject_keyId: { subject, keyId } }
      await database.endorsement.upsert({ where, create: { subject, keyId, ...said }, update: said })
    },
    putReleaseOverride: async (key, proof, now) => {
      await database.releaseOverride.deleteMany({ where: roundOf(key) })
      const json = { operators: proof.operators, statements: [...proof.statements] }
      await database.releaseOverride.createMany({ data: [{ ...roundOf(key), proof: json, at: new Date(now) }] })
    },
  }
}
