import type { Context } from '../context.ts'
import { TapestryError } from '../core/error.ts'

/** The signed federation record: how a stranger learns who this is. */
export async function getFederation(context: Context) {
  const federation = await context.store.reader.federation()
  if (federation === undefined) throw new TapestryError('FAILED_PRECONDITION', 'this coordinator has no federation yet')
  return {
    record: Buffer.from(federation.record, 'utf8'),
    // The federation's id is the fingerprint of the key that signs its record.
    signature: {
      keyId: federation.id.slice('sha256:'.length),
      value: Buffer.from(federation.signature, 'base64'),
    },
  }
}
