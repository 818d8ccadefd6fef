import { X509Certificate } from 'node:crypto'
import type { Millis } from '../core/clock.ts'
import { TapestryError } from '../core/error.ts'
import { ensureNodeId, type FederationId, type NodeId } from '../core/ids.ts'

/** Whom a client certificate speaks for. */
export type CertificateIdentity =
  /** `keys`: changes of its keys that the node had made when the certificate was issued; absent for none. */
  | { readonly kind: 'node'; readonly node: NodeId; readonly keys?: number }
  | { readonly kind: 'operator'; readonly name: string }

const OPERATOR_NAME = /^[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?$/

/** @throws TapestryError INVALID_ARGUMENT unless `name` is a slug of 1-64 characters. */
export function ensureOperatorName(name: string): string {
  if (OPERATOR_NAME.test(name)) return name
  throw new TapestryError('INVALID_ARGUMENT', `not an operator name: "${name.slice(0, 80)}"`)
}

/** The one URI in a client certificate's subject alternative name: `tapestry://<federation hex>/node/<node id>`, then `/keys/<n>` after n changes. */
export function identityUri(federation: FederationId, identity: CertificateIdentity): string {
  const authority = federation.slice('sha256:'.length)
  return identity.kind === 'node'
    ? `tapestry://${authority}/node/${identity.node}${identity.keys ? `/keys/${identity.keys}` : ''}`
    : `tapestry://${authority}/operator/${ensureOperatorName(identity.name)}`
}

/** The whole extension as OpenSSL prints it: one URI and nothing beside it. */
const ALTERNATIVE_NAME =
  /^URI:tapestry:\/\/([0-9a-f]{64})\/(node|operator)\/([a-z0-9._-]{1,64})(?:\/keys\/([1-9][0-9]{0,6}))?$/

/**
 * Reads the identity out of a certificate that TLS has already verified against the federation's authority.
 * TLS checks the dates once, at the handshake; a connection may outlive its certificate, so they are checked here too.
 * @param der the peer's certificate, DER; whoever holds it does not change it.
 * @returns undefined for a certificate of another federation, without an identity, or outside its validity.
 */
export function certificateIdentity(
  der: Uint8Array,
  federation: FederationId,
  now: Millis,
): CertificateIdentity | undefined {
  const content = contentOf(der)
  if (content === undefined || content.federation !== federation) return undefined
  return content.from <= now && now <= content.to ? content.identity : undefined
}

type Content = {
  readonly from: Millis
  readonly to: Millis
  readonly federation?: string
  readonly identity?: CertificateIdentity | undefined
}

/**
 * What certificates say, kept while the very array that holds one is: a connection hands over the same one with each of
 * its calls, and parsing takes longer than all else that tells who calls. Nothing here depends on when it is asked.
 */
const contents = new WeakMap<Uint8Array, Content>()

function contentOf(der: Uint8Array): Content | undefined {
  const known = contents.get(der)
  if (known !== undefined) return known
  const certificate = parseCertificate(der)
  if (certificate === undefined) return undefined
  const content = { ...datesOf(certificate), ...subjectOf(certificate) }
  contents.set(der, content)
  return content
}

function subjectOf({ subjectAltName }: X509Certificate): Pick<Content, 'federation' | 'identity'> {
  const [, authority, kind, name, keys] = ALTERNATIVE_NAME.exec(subjectAltName ?? '') ?? []
  if (name === undefined) return {}
  const federation = `sha256:${authority}`
  if (kind === 'node') return { federation, identity: nodeIdentity(name, keys) }
  const known = keys === undefined && OPERATOR_NAME.test(name)
  return { federation, identity: known ? { kind: 'operator', name } : undefined }
}

/** True when `now` lies within the certificate's dates, which have a resolution of one second. */
export function isValidAt(certificate: X509Certificate, now: Millis): boolean {
  const { from, to } = datesOf(certificate)
  return from <= now && now <= to
}

function datesOf({ validFrom, validTo }: X509Certificate): Pick<Content, 'from' | 'to'> {
  return { from: Date.parse(validFrom), to: Date.parse(validTo) }
}

function nodeIdentity(name: string, keys: string | undefined): CertificateIdentity | undefined {
  try {
    return { kind: 'node', node: ensureNodeId(name), ...(keys !== undefined && { keys: Number(keys) }) }
  } catch {
    return undefined
  }
}

function parseCertificate(der: Uint8Array): X509Certificate | undefined {
  try {
    return new X509Certificate(der)
  } catch {
    return undefined
  }
}
