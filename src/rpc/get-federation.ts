import type { Context } from '../context.ts'
import { TapestryError } from '../core/error.ts'
import type { PublicLog } from '../store/public-log.ts'
import { signatureMessage } from './message.ts'

/** The signed federation record, and the record of its log: how a stranger learns who this is. */
export async function getFederation(context: Context, { record: log }: PublicLog) {
  const federation = await context.store.reader.federation()
  if (federation === undefined) throw new TapestryError('FAILED_PRECONDITION', 'this coordinator has no federation yet')
  return {
    record: Buffer.from(federation.record, 'utf8'),
    // The federation's id is the fingerprint of the key that signs its record.
    signature: {
      keyId: federation.id.slice('sha256:'.length),
      value: Buffer.from(federation.signature, 'base64'),
    },
    log: log.bytes,
    logSignature: signatureMessage(log.signature),
    version: context.version,
    nowMs: BigInt(context.clock.now()),
  }
}
