import type { KeyObject } from 'node:crypto'
import { z } from 'zod'
import { TapestryError } from '../core/error.ts'
import { DOMAINS, publicKeyFromPem, signMessage, verifyMessage } from '../core/signature.ts'
import type { ReleaseKey } from './federation-record.ts'

/**
 * A signed in-toto statement in the envelope of DSSE v1.0 (secure-systems-lab/dsse, envelope.md):
 * `payload` and `sig` in base64, `keyid` the hex SHA-256 of the signer's SPKI.
 */
export type Envelope = {
  readonly payload: string
  readonly payloadType: typeof DOMAINS.statement
  readonly signatures: readonly { readonly keyid: string; readonly sig: string }[]
}

const base64 = z.string().refine((text) => Buffer.from(text, 'base64').toString('base64') === text, 'not base64')

/** Exactly one signature; base64 in the one form that encoding gives, so that no byte of it is free. */
export const envelopeSchema = z.strictObject({
  payload: base64,
  payloadType: z.literal(DOMAINS.statement),
  signatures: z.array(z.strictObject({ keyid: z.string().max(64), sig: base64 })).length(1),
})

/** Signs a statement's bytes. The signatures of this project are DSSE's, so its payload type is their domain. */
export function signEnvelope(payload: Uint8Array, key: KeyObject): Envelope {
  const { keyId, value } = signMessage(key, DOMAINS.statement, payload)
  return {
    payload: Buffer.from(payload).toString('base64'),
    payloadType: DOMAINS.statement,
    signatures: [{ keyid: keyId, sig: value }],
  }
}

/**
 * Proves an envelope by one of the keys. A statement is believed only after this.
 * @param name what is being read, for the message
 * @returns the payload, and the key that signed it
 * @throws TapestryError VERIFICATION_FAILED
 */
export function openEnvelope(
  envelope: Envelope,
  keys: readonly ReleaseKey[],
  name: string,
): { readonly payload: Uint8Array; readonly key: ReleaseKey } {
  const [signature] = envelope.signatures
  const key = keys.find(({ keyId }) => keyId === signature?.keyid)
  if (signature === undefined || key === undefined) throw failed(name, 'is by a key that is not trusted')
  const payload = Buffer.from(envelope.payload, 'base64')
  const claim = { keyId: key.keyId, value: signature.sig }
  if (!verifyMessage(publicKeyFromPem(key.publicKey), DOMAINS.statement, payload, claim)) {
    throw failed(name, 'has a signature that does not hold')
  }
  return { payload, key }
}

const failed = (name: string, problem: string) => new TapestryError('VERIFICATION_FAILED', `${name} ${problem}`)
