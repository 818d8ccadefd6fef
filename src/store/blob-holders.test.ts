import { expect, it } from 'vitest'
import { declaredColumns } from '../../test/prisma-schema.ts'

/** What blobHolders looks into: who adds a column with digests of blobs adds it there, and here. */
const HOLDERS = ['checkpoint_file.digest', 'contribution.payload_digest', 'round.state', 'upload.digest']

/** Digests of documents that the database holds itself, of keys, secrets and checkpoints; and what is only known of a blob. */
const OTHERS = [
  'attestation.checkpoint_digest',
  'attestation.digest',
  'channel.checkpoint_digest',
  'checkpoint.digest',
  'checkpoint.parent_digest',
  'checkpoint_file.checkpoint_digest',
  'contribution.id',
  'contribution.weight_record',
  'contribution_record.record_digest',
  'dataset_record.digest',
  'dataset_record.evidence',
  'diagnostics.report',
  'endorsement.subject',
  'evaluation.paired',
  'inspection.digest',
  'invitation.secret_hash',
  'node.id',
  'operator_record.digest',
  'release_decision.record',
  'release_override.proof',
  'review.languages',
  'run.head_digest',
  'run.plan',
  'run.plan_digest',
  'run.policy',
]

/** Of branches of the schema that tests may run with. */
const MAY_BE_THERE = ['key_record.signatures', 'remerge.weight_record', 'revocation.plan', 'revocation.state']

it('knows of every column that may hold a digest whether it holds blobs', () => {
  const found = declaredColumns().filter(({ column, comment, type }) => {
    if (column.endsWith('key_id')) return false
    return type === 'jsonb' || /digest|payload/.test(column) || /digest|content address|sha-256/i.test(comment)
  })
  const names = found.map(({ table, column }) => `${table}.${column}`)
  const known = [...HOLDERS, ...OTHERS, ...MAY_BE_THERE]
  expect(names.filter((name) => !known.includes(name))).toEqual([])
  expect([...HOLDERS, ...OTHERS].filter((name) => !names.includes(name))).toEqual([])
})
