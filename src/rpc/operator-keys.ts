import type { Context } from '../context.ts'
import type { Millis } from '../core/clock.ts'
import { TapestryError } from '../core/error.ts'
import { type OperatorRecord, parseOperatorRecord } from '../model/operator-record.ts'
import { countedEndorsements } from '../policy/endorsement.ts'
import type { Reader } from '../store/reader.ts'
import type { EndorsementRow, OperatorRecordRow } from '../store/records.ts'

/** Who may decide together at present. */
export type Council = { readonly row: OperatorRecordRow; readonly record: OperatorRecord }

/** The record that stands; undefined when there never was any. */
export async function councilOf(reader: Pick<Reader, 'operatorRecord'>): Promise<Council | undefined> {
  const row = await reader.operatorRecord()
  return row && { row, record: parseOperatorRecord(Buffer.from(row.record, 'utf8')) }
}

/** @throws TapestryError FAILED_PRECONDITION when nobody can override anything */
export async function requireCouncil(reader: Pick<Reader, 'operatorRecord'>): Promise<Council> {
  const council = await councilOf(reader)
  if (council !== undefined) return council
  throw new TapestryError('FAILED_PRECONDITION', 'no operators are set who could sign', {
    hint: 'tapestry operator set --threshold M --operator NAME=FILE.pub ...',
  })
}

/** The signatures on something that count now. */
export async function signaturesOn(
  reader: Pick<Reader, 'endorsements'>,
  subject: string,
  { record }: Council,
  now: Millis,
): Promise<readonly EndorsementRow[]> {
  const keys = new Set(record.operators.map(({ keyId }) => keyId))
  return countedEndorsements(await reader.endorsements(subject), keys, now)
}

/** @throws TapestryError WRONG_FEDERATION */
export function requireOwnFederation({ federation }: Context, document: { readonly federation: string }): void {
  if (document.federation === federation) return
  throw new TapestryError('WRONG_FEDERATION', `it was signed for federation ${document.federation}`)
}
