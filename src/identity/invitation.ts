import { createHash } from 'node:crypto'
import { isIPv6 } from 'node:net'
import { z } from 'zod'
import { canonicalJson } from '../core/canonical-json.ts'
import { TapestryError } from '../core/error.ts'
import { ensureFederationId, type FederationId } from '../core/ids.ts'

/** What a member receives: where to go, whom to trust there, and the secret that opens the door once. */
export type Invitation = {
  /** `host:port`; IPv6 addresses in brackets. */
  readonly address: string
  readonly federation: FederationId
  /** 32 random bytes. */
  readonly secret: Uint8Array
}

const PREFIX = 'tapestry-invite:1:'
const SECRET_BYTES = 32
/** A host name has at most 253 characters; the rest is fixed. */
const MOST_CHARACTERS = 1024

const SCHEMA = z.strictObject({
  address: z.string().max(300),
  federation: z.string().max(100),
  secret: z.string().regex(/^[A-Za-z0-9_-]{43}$/),
})

/**
 * One line of text to hand over.
 * @param secret 32 bytes from a cryptographic source; the server keeps only {@link secretHash}.
 * @throws TapestryError INVALID_ARGUMENT for a wrong length or an address that is not host:port.
 */
export function createInvitation(secret: Uint8Array, address: string, federation: FederationId): string {
  if (secret.byteLength !== SECRET_BYTES) {
    throw new TapestryError('INVALID_ARGUMENT', `an invitation's secret has ${SECRET_BYTES} bytes`)
  }
  parseAddress(address)
  const body = canonicalJson({ address, federation, secret: Buffer.from(secret).toString('base64url') })
  return PREFIX + Buffer.from(body, 'utf8').toString('base64url')
}

/** Reads an invitation; white space around it is allowed. @throws TapestryError INVITATION_INVALID. */
export function parseInvitation(text: string): Invitation {
  const line = text.trim()
  if (line.length > MOST_CHARACTERS || !line.startsWith(PREFIX)) throw invalid()
  try {
    const json: unknown = JSON.parse(Buffer.from(line.slice(PREFIX.length), 'base64url').toString('utf8'))
    const { address, federation, secret } = SCHEMA.parse(json)
    parseAddress(address)
    return { address, federation: ensureFederationId(federation), secret: Buffer.from(secret, 'base64url') }
  } catch (cause) {
    throw invalid(cause)
  }
}

/** Hex SHA-256 of an invitation's secret: all that the server keeps of it. 256 random bits need no salt. */
export function secretHash(secret: Uint8Array): string {
  return createHash('sha256').update(secret).digest('hex')
}

/**
 * Splits `host:port`. Brackets of an IPv6 address are taken off.
 * @throws TapestryError INVALID_ARGUMENT.
 */
export function parseAddress(address: string): { readonly host: string; readonly port: number } {
  const match = /^(?:\[([0-9a-fA-F:.]{2,45})\]|([A-Za-z0-9.-]{1,253})):([0-9]{1,5})$/.exec(address)
  const port = Number(match?.[3])
  const host = match?.[1] ?? match?.[2]
  const badV6 = match?.[1] !== undefined && !isIPv6(match[1])
  if (host === undefined || badV6 || port < 1 || port > 65_535) {
    throw new TapestryError('INVALID_ARGUMENT', `not an address: "${address.slice(0, 80)}" (expected host:port)`)
  }
  return { host, port }
}

function invalid(cause?: unknown): TapestryError {
  return new TapestryError('INVITATION_INVALID', 'this is not an invitation', {
    cause,
    hint: `an invitation is one line that begins with ${PREFIX}; copy all of it`,
  })
}
