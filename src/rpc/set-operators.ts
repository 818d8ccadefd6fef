import type { Context } from '../context.ts'
import { digestOf } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import { DOMAINS, privateKeyFromPem, type Signature } from '../core/signature.ts'
import type { SetOperatorsRequest } from '../gen/proto/tapestry/v1/operator_pb.ts'
import { type OperatorRecord, parseOperatorRecord, signerOf, signOperatorRecord } from '../model/operator-record.ts'
import type { OperatorRecordRow } from '../store/records.ts'
import type { Tx } from '../store/store.ts'
import type { CertificateIssuer } from './certificate.ts'
import { signatureOf } from './message.ts'
import { type Council, councilOf, requireOwnFederation, signaturesOn } from './operator-keys.ts'

/**
 * Sets who may override. The first record stands at once; every later one when enough of those who may now have
 * signed it. The authority signs what stands.
 * @throws TapestryError VERIFICATION_FAILED, WRONG_FEDERATION, PERMISSION_DENIED for a key that may not; FAILED_PRECONDITION
 *   for a record that does not follow the one that stands
 */
export async function setOperators(context: Context, issuer: CertificateIssuer, request: SetOperatorsRequest) {
  const record = parseOperatorRecord(request.record)
  requireOwnFederation(context, record)
  const signed = signOperatorRecord(request.record, privateKeyFromPem(issuer.authority.key))
  const now = context.clock.now()
  const row = { ...signed, digest: digestOf(request.record), version: record.version, at: now }
  return context.store.transact('set-operators', async (tx) => {
    const council = await councilOf(tx)
    if (council?.row.digest === row.digest) return answer(row, true, [], council.record.threshold)
    requireSuccessor(record, council)
    if (council === undefined) return stand(tx, row, record, [], 0)
    await endorse(tx, council, row, request)
    const signers = (await signaturesOn(tx, row.digest, council, now)).map(({ keyId }) => keyId)
    const { threshold } = council.record
    return signers.length < threshold
      ? answer(row, false, signers, threshold)
      : stand(tx, row, record, signers, threshold)
  })
}

function requireSuccessor({ version, previous }: OperatorRecord, council: Council | undefined): void {
  if (version === (council?.row.version ?? 0) + 1 && previous === (council?.row.digest ?? null)) return
  throw new TapestryError('FAILED_PRECONDITION', `record ${version} does not follow the one that stands`, {
    hint: 'tapestry operator ls shows it: sign a change of that one',
  })
}

async function endorse(tx: Tx, { record }: Council, row: OperatorRecordRow, request: SetOperatorsRequest) {
  const signature: Signature = signatureOf(request.signature)
  if (signerOf(record, DOMAINS.operators, request.record, signature) === undefined) {
    throw new TapestryError('PERMISSION_DENIED', 'it is not signed by a key of an operator')
  }
  const { keyId } = signature
  await tx.putEndorsement({ subject: row.digest, keyId, statement: row.record, signature, at: row.at })
}

async function stand(
  tx: Tx,
  row: OperatorRecordRow,
  { threshold, version, previous, operators }: OperatorRecord,
  signers: readonly string[],
  needed: number,
) {
  await tx.createOperatorRecord(row)
  const keys = operators.map(({ keyId }) => keyId)
  const entry = { type: 'operators-set', record: row.digest, version, previous, threshold, keys } as const
  await tx.appendToLedger({ ...entry, signers: [...signers] }, row.at)
  return answer(row, true, signers, needed)
}

function answer({ digest }: OperatorRecordRow, standing: boolean, signers: readonly string[], needed: number) {
  return { digest, standing, signers: [...signers], needed }
}
