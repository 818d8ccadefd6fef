import { z } from 'zod'
import { canonicalBytes } from '../core/canonical-json.ts'
import { TapestryError } from '../core/error.ts'
import { ensureFederationId, ensureNodeId, type FederationId, type NodeId } from '../core/ids.ts'
import { branded, parseCanonical } from '../model/parsing.ts'

/** What becomes of a leaving node's contributions: they stay, or are revoked in one of two ways. */
export const CONTRIBUTION_FATES = ['stay', 'rewind', 'remerge'] as const
export type ContributionFate = (typeof CONTRIBUTION_FATES)[number]

/** A node's last word, signed by its node key (DOMAINS.departure). Without a date: leaving is for good, so it never grows stale. */
export type Departure = {
  readonly federation: FederationId
  readonly node: NodeId
  readonly contributions: ContributionFate
}

const FORMAT = 'tapestry-departure/1'
const schema: z.ZodType<Departure & { readonly format: typeof FORMAT }> = z.strictObject({
  format: z.literal(FORMAT),
  federation: branded(ensureFederationId),
  node: branded(ensureNodeId),
  contributions: z.enum(CONTRIBUTION_FATES),
})
const MOST_BYTES = 1024

/** The bytes that are signed. */
export function departureBytes(departure: Departure): Uint8Array {
  return canonicalBytes({ ...departure, format: FORMAT })
}

/** Reads a departure; the signature is the caller's to check. @throws TapestryError VERIFICATION_FAILED */
export function parseDeparture(bytes: Uint8Array): Departure {
  if (bytes.byteLength > MOST_BYTES) throw new TapestryError('VERIFICATION_FAILED', 'the departure is too long')
  const { format: _, ...departure } = parseCanonical(bytes, schema, 'the departure')
  return departure
}
