import { createHash } from 'node:crypto'
import { isIPv6 } from 'node:net'
import { z } from 'zod'
import { canonicalJson } from '../core/canonical-json.ts'
import { TapestryError } from '../core/error.ts'
import { ensureFederationId, type FederationId } from '../core/ids.ts'

/** What a member receives: where to go, whom to trust there, and the secret that opens the door once. */
export type Invitation = {
  /** `host:port`, IPv6 addresses in brackets; of several replicas with commas between them. */
  readonly address: string
  readonly federation: FederationId
  /** 32 random bytes. */
  readonly secret: Uint8Array
}

const PREFIX = 'tapestry-invite:1:'
const SECRET_BYTES = 32
/** More replicas than that are found through fewer. */
const MOST_ADDRESSES = 8
/** Eight host names of usual length; the rest is fixed. */
const MOST_ADDRESS_CHARACTERS = 1000
const MOST_CHARACTERS = 2048

const SCHEMA = z.strictObject({
  address: z.string().max(MOST_ADDRESS_CHARACTERS),
  federation: z.string().max(100),
  secret: z.string().regex(/^[A-Za-z0-9_-]{43}$/),
})

/**
 * One line of text to hand over.
 * @param secret 32 bytes from a cryptographic source; the server keeps only {@link secretHash}.
 * @throws TapestryError INVALID_ARGUMENT for a wrong length or an address that is neither host:port nor a list of them.
 */
export function createInvitation(secret: Uint8Array, address: string, federation: FederationId): string {
  if (secret.byteLength !== SECRET_BYTES) {
    throw new TapestryError('INVALID_ARGUMENT', `an invitation's secret has ${SECRET_BYTES} bytes`)
  }
  parseAddresses(address)
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
    parseAddresses(address)
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

/**
 * Splits a list of `host:port` at its commas; white space around them is allowed.
 * @throws TapestryError INVALID_ARGUMENT when one of them is none, comes twice, or is one too many.
 */
export function parseAddresses(text: string): readonly [string, ...string[]] {
  const [first = '', ...others] = text.split(',').map((address) => address.trim())
  for (const address of [first, ...others]) parseAddress(address)
  if (others.length >= MOST_ADDRESSES || new Set([first, ...others]).size <= others.length) {
    throw new TapestryError('INVALID_ARGUMENT', `at most ${MOST_ADDRESSES} addresses, each once`)
  }
  return [first, ...others]
}

function invalid(cause?: unknown): TapestryError {
  return new TapestryError('INVITATION_INVALID', 'this is not an invitation', {
    cause,
    hint: `an invitation is one line that begins with ${PREFIX}; copy all of it`,
  })
}
