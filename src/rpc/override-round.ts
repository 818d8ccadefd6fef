import type { Context } from '../context.ts'
import type { Millis } from '../core/clock.ts'
import { digestOf } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import type { RoundKey } from '../core/ids.ts'
import { DOMAINS, type Signature } from '../core/signature.ts'
import type { OverrideRoundRequest } from '../gen/proto/tapestry/v1/operator_pb.ts'
import type { LedgerEvent } from '../ledger/entry.ts'
import { gateBytes } from '../model/manifest.ts'
import { parseOperatorRecord, signerOf } from '../model/operator-record.ts'
import {
  type Override,
  type OverrideStatement,
  type OverrideSubject,
  parseOverrideStatement,
  requireSubject,
} from '../model/override.ts'
import { gateResultOf } from '../policy/gate-result.ts'
import type { RejectedRound } from '../round/round.ts'
import { advanceRound } from '../store/advance.ts'
import type { Reader } from '../store/reader.ts'
import type { EndorsementRow } from '../store/records.ts'
import type { Tx } from '../store/store.ts'
import { signatureOf } from './message.ts'
import { type Council, councilOf, requireCouncil, requireOwnFederation, signaturesOn } from './operator-keys.ts'

/**
 * Takes one operator's signature for the release of a blocked candidate. With the last one that it takes, a job publishes it.
 * @throws TapestryError VERIFICATION_FAILED, WRONG_FEDERATION, PERMISSION_DENIED for a key that may not; NOT_FOUND;
 *   FAILED_PRECONDITION for a round that was not rejected, or whose base the run has left
 */
export async function overrideRound(context: Context, request: OverrideRoundRequest) {
  const statement = parseOverrideStatement(request.statement)
  requireOwnFederation(context, statement)
  const signature = signatureOf(request.signature)
  const key = { run: statement.run, number: statement.round }
  const now = context.clock.now()
  return context.store.transact('override-round', async (tx) => {
    const council = await requireCouncil(tx)
    requireSigner(council, request.statement, signature)
    const round = await requireRejected(tx, key)
    requireSubject(statement, await subjectOf(tx, key, round, statement.federation))
    if (!round.overridden) {
      await tx.putEndorsement(endorsement(request, statement, signature, now))
      await carryIfEnough(tx, council, statement, now)
    }
    return { override: await overrideState(tx, key, now) }
  })
}

function requireSigner({ record }: Council, bytes: Uint8Array, signature: Signature): void {
  if (signerOf(record, DOMAINS.override, bytes, signature) !== undefined) return
  throw new TapestryError('PERMISSION_DENIED', 'it is not signed by a key of an operator')
}

/** A rejected round that can still become the run's next checkpoint. */
async function requireRejected(tx: Tx, key: RoundKey): Promise<RejectedRound> {
  const [row, run] = await Promise.all([tx.round(key), tx.run(key.run)])
  if (row === undefined || run === undefined) {
    throw new TapestryError('NOT_FOUND', `there is no round ${key.number} in run ${key.run}`)
  }
  const { round } = row
  if (round.phase !== 'rejected') {
    throw new TapestryError(
      'FAILED_PRECONDITION',
      `round ${key.number} is ${round.phase}: there is nothing to override`,
    )
  }
  if (row.revocation !== undefined) {
    throw new TapestryError('FAILED_PRECONDITION', `revocation ${row.revocation} took back what the candidate holds`)
  }
  if (run.head === round.base) return round
  const moved = `run ${key.run} goes on from ${run.head} now, no longer from the base of round ${key.number}`
  throw new TapestryError('FAILED_PRECONDITION', `${moved}: its candidate has no place any more`)
}

async function subjectOf(
  tx: Tx,
  key: RoundKey,
  { candidate }: RejectedRound,
  federation: OverrideSubject['federation'],
): Promise<OverrideSubject> {
  const record = await tx.gateRecord(key)
  if (record === undefined) {
    throw new TapestryError('FAILED_PRECONDITION', 'what the gate found about this round was not kept')
  }
  return { federation, run: key.run, round: key.number, candidate, gate: digestOf(gateBytes(gateResultOf(record))) }
}

const subjectText = ({ run, number }: RoundKey) => `override ${run}/${number}`

function endorsement(
  { statement: bytes }: OverrideRoundRequest,
  { run, round }: OverrideStatement,
  signature: Signature,
  at: Millis,
): EndorsementRow {
  const statement = Buffer.from(bytes).toString('utf8')
  return { subject: subjectText({ run, number: round }), keyId: signature.keyId, statement, signature, at }
}

/** The record by which they may is kept with the signatures: changing it later changes nothing that was carried. */
async function carryIfEnough(tx: Tx, council: Council, statement: OverrideStatement, now: Millis): Promise<void> {
  const key = { run: statement.run, number: statement.round }
  const signed = await signaturesOn(tx, subjectText(key), council, now)
  if (signed.length < council.record.threshold) return
  const { record, signature, digest } = council.row
  const statements = signed.map(({ statement, signature }) => ({ statement, signature }))
  await tx.putReleaseOverride(key, { operators: { record, signature }, statements }, now)
  await tx.appendToLedger(carriedEvent(statement, digest, signed), now)
  await advanceRound(tx, key, { type: 'override-carried' }, now)
}

function carriedEvent(
  { run, round, candidate, gate }: OverrideStatement,
  operators: OverrideSubject['gate'],
  signed: readonly EndorsementRow[],
): LedgerEvent {
  const signers = signed.map(({ keyId, statement }) => ({
    key: keyId,
    statement: digestOf(statement),
    reason: reasonIn(statement),
  }))
  return { type: 'release-overridden', run, round, candidate, gate, operators, signers }
}

const reasonIn = (statement: string) => parseOverrideStatement(Buffer.from(statement, 'utf8')).reason

type OverrideReader = Pick<Reader, 'round' | 'operatorRecord' | 'endorsements' | 'releaseOverride'>

/** How far the override of a round has come; undefined when nobody whose word counts has signed. */
export async function overrideState(reader: OverrideReader, key: RoundKey, now: Millis) {
  const carried = await carriedOverride(reader, key)
  const council = await councilOf(reader)
  if (council === undefined) return undefined
  const { operators, threshold } = carried ? recordIn(carried) : council.record
  const signed = carried
    ? await signaturesIn(reader, key, carried)
    : await signaturesOn(reader, subjectText(key), council, now)
  if (signed.length === 0) return undefined
  const names = new Map(operators.map(({ keyId, name }) => [keyId, name]))
  const signers = signed.map(({ keyId, statement, at }) => ({
    ...{ name: names.get(keyId) ?? '', keyId },
    ...{ reason: reasonIn(statement), signedMs: BigInt(at) },
  }))
  return { signers, needed: threshold, carried: carried !== undefined }
}

/** One that came too late counts for nothing. */
async function carriedOverride(reader: OverrideReader, key: RoundKey): Promise<Override | undefined> {
  const [row, proof] = await Promise.all([reader.round(key), reader.releaseOverride(key)])
  return row?.round.phase === 'rejected' && !row.round.overridden ? undefined : proof
}

async function signaturesIn(reader: OverrideReader, key: RoundKey, { statements }: Override) {
  const keys = new Set(statements.map(({ signature }) => signature.keyId))
  return (await reader.endorsements(subjectText(key))).filter(({ keyId }) => keys.has(keyId))
}

const recordIn = ({ operators }: Override) => parseOperatorRecord(Buffer.from(operators.record, 'utf8'))
