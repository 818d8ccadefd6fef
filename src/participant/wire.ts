import { TapestryError } from '../core/error.ts'
import type { Signature } from '../core/signature.ts'
import type { Signature as SignatureMessage } from '../gen/proto/tapestry/v1/common_pb.ts'

/** Between messages and the domain: what a hostile coordinator sends stops here. */

export function signatureMessage(signature: Signature): { keyId: string; value: Uint8Array } {
  return { keyId: signature.keyId, value: Buffer.from(signature.value, 'base64') }
}

/** @throws TapestryError VERIFICATION_FAILED when there is no signature. */
export function requireSignature(message: SignatureMessage | undefined, what: string): Signature {
  if (message === undefined) throw new TapestryError('VERIFICATION_FAILED', `${what} carries no signature`)
  return { keyId: message.keyId, value: Buffer.from(message.value).toString('base64') }
}

/**
 * Runs an `ensure…` function on something the coordinator sent.
 * @throws TapestryError VERIFICATION_FAILED where the function calls it an invalid argument: the mistake is not ours.
 */
export function received<In, Out>(ensure: (value: In) => Out, value: In): Out {
  try {
    return ensure(value)
  } catch (cause) {
    const detail = cause instanceof Error ? cause.message : 'not understood'
    throw new TapestryError('VERIFICATION_FAILED', `the coordinator sent something invalid: ${detail}`, { cause })
  }
}

/** A count or size. @throws TapestryError VERIFICATION_FAILED beyond 2^53-1. */
export function safeNumber(value: bigint): number {
  if (value <= BigInt(Number.MAX_SAFE_INTEGER) && value >= 0n) return Number(value)
  throw new TapestryError('VERIFICATION_FAILED', `the coordinator sent an impossible number: ${value}`)
}
