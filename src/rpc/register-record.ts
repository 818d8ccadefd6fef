import type { Context } from '../context.ts'
import { digestOf } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import { DOMAINS } from '../core/signature.ts'
import type { RegisterRecordRequest } from '../gen/proto/tapestry/v1/record_pb.ts'
import { parseDatasetRecord } from '../policy/dataset-record.ts'
import type { NodePrincipal } from './auth.ts'
import { ensureOwnDocument } from './record-document.ts'

/** A record for every dataset and every change of it, for decades; no more, since each is kept for good. */
const MAX_RECORDS = 10_000

/** Stores what a node declares about a corpus. Whether a run can use it is asked when it is used. */
export async function registerRecord(
  context: Context,
  { record: bytes, signature }: RegisterRecordRequest,
  { node }: NodePrincipal,
) {
  const record = parseDatasetRecord(bytes)
  const digest = digestOf(bytes)
  const row = {
    digest,
    node: node.id,
    id: record.id,
    text: Buffer.from(bytes).toString('utf8'),
    signature: ensureOwnDocument(context, node, record, { domain: DOMAINS.record, bytes, signature }),
    evidence: record.consent.evidence,
    content: record.content,
    public: record.public,
    registeredAt: context.clock.now(),
  }
  await context.store.transact('register-record', async (tx) => {
    if ((await tx.countDatasetRecords(node.id)) >= MAX_RECORDS) {
      throw new TapestryError('RESOURCE_EXHAUSTED', `a node registers at most ${MAX_RECORDS} records`)
    }
    if (!(await tx.createDatasetRecord(row))) return
    const entry = { type: 'record-registered', node: node.id, record: digest, consent: row.evidence } as const
    await tx.appendToLedger(entry, row.registeredAt)
  })
  return { digest }
}
