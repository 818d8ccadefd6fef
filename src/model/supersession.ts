import type { KeyObject } from 'node:crypto'
import { z } from 'zod'
import { canonicalBytes } from '../core/canonical-json.ts'
import type { Digest } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import { ensureFederationId, ensureRoundNumber, ensureRunId, type FederationId, type RunId } from '../core/ids.ts'
import { DOMAINS, publicKeyFromPem, type Signature, signMessage, verifyMessage } from '../core/signature.ts'
import type { ReleaseKey } from './federation-record.ts'
import { branded, digestSchema, parseCanonical } from './parsing.ts'

const FORMAT = 'tapestry-supersession/1'
const WHAT = 'the notice of supersession'

/** What a release key signs about checkpoints that a revocation took back. Holds no time and no reason in words. */
export type Supersession = {
  readonly format: typeof FORMAT
  readonly federation: FederationId
  readonly run: RunId
  /** Counted from 1 within the run. */
  readonly revocation: number
  readonly mode: 'rewind' | 'remerge'
  /** The last checkpoint without what was revoked. */
  readonly base: Digest
  /** Checkpoints that nobody should use any more. */
  readonly superseded: readonly Digest[]
  /** Published instead of them; null when there is none, or none yet. */
  readonly replacement: Digest | null
}

const schema: z.ZodType<Supersession> = z.strictObject({
  format: z.literal(FORMAT),
  federation: branded(ensureFederationId),
  run: branded(ensureRunId),
  revocation: z.number().transform(ensureRoundNumber),
  mode: z.enum(['rewind', 'remerge']),
  base: digestSchema,
  superseded: z.array(digestSchema).min(1),
  replacement: digestSchema.nullable(),
})

/** `text`: canonical JSON of a {@link Supersession}. */
export type SignedSupersession = { readonly text: string; readonly signature: Signature }

/** Signs a notice with a release key. */
export function signSupersession(fields: Omit<Supersession, 'format'>, key: KeyObject): SignedSupersession {
  const bytes = canonicalBytes({ ...fields, format: FORMAT })
  return { text: Buffer.from(bytes).toString('utf8'), signature: signMessage(key, DOMAINS.supersession, bytes) }
}

/** Reads a notice and proves it by its signature. @throws TapestryError VERIFICATION_FAILED */
export function verifySupersession(
  { text, signature }: SignedSupersession,
  keys: readonly ReleaseKey[],
  federation: FederationId,
): Supersession {
  const bytes = Buffer.from(text, 'utf8')
  const key = keys.find(({ keyId }) => keyId === signature.keyId)
  if (key === undefined || !verifyMessage(publicKeyFromPem(key.publicKey), DOMAINS.supersession, bytes, signature)) {
    throw new TapestryError('VERIFICATION_FAILED', `${WHAT} is not signed by a key that is trusted`)
  }
  const notice = parseCanonical(bytes, schema, WHAT)
  if (notice.federation === federation) return notice
  throw new TapestryError('VERIFICATION_FAILED', `${WHAT} belongs to another federation`)
}

/** The refusal of a superseded checkpoint. @param how the reader can have it all the same */
export function supersededError({ run, revocation, base, replacement }: Supersession, how: string): TapestryError {
  const instead = replacement === null ? `${base}, which is older` : replacement
  const detail = `this checkpoint is superseded: revocation ${revocation} of run ${run} took contributions back`
  return new TapestryError('VERIFICATION_FAILED', detail, { hint: `use ${instead}; ${how}` })
}
