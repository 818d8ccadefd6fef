import 'reflect-metadata'
import { type KeyObject, randomBytes, webcrypto, X509Certificate } from 'node:crypto'
import { isIP } from 'node:net'
import * as x509 from '@peculiar/x509'
import type { Millis } from '../core/clock.ts'
import { TapestryError } from '../core/error.ts'
import { fingerprintOf } from '../core/fingerprint.ts'
import type { FederationId } from '../core/ids.ts'
import { type CertificateIdentity, identityUri } from './certificate-identity.ts'
import { requestedKey, signingAlgorithmOf } from './certificate-request.ts'
import { ensureDisplayName } from './display-name.ts'
import { generateKey, publicKeyFromDer, webKeyPair } from './key-file.ts'

/** What makes a federation: its self-signed certificate and the key that must never leave the coordinator. PEM. */
export type Authority = { readonly certificate: string; readonly key: string }

/** A certificate with its own private key, PEM. */
export type ServerCertificate = { readonly certificate: string; readonly key: string }

const DAY: Millis = 86_400_000
/** A federation's id is its authority's key: it outlives the people who made it. */
const AUTHORITY_LIFETIME: Millis = 20 * 365 * DAY
/** Renewed by the coordinator itself, at every start and while it runs. */
const SERVER_LIFETIME: Millis = 90 * DAY
/** Nodes renew at two thirds of it. */
export const CLIENT_LIFETIME: Millis = DAY
/** Clocks of members differ: a certificate begins a little before it is made. */
const CLOCK_SKEW: Millis = 5 * 60_000

/** Makes a new federation's authority: an Ed25519 key and a certificate that signs leaves only. */
export async function createAuthority(name: string, now: Millis): Promise<Authority> {
  const key = generateKey('ed25519').privateKey
  const keys = await webKeyPair(key)
  const certificate = await x509.X509CertificateGenerator.createSelfSigned(
    {
      serialNumber: serialNumber(),
      name: commonName(ensureDisplayName(name)),
      ...validity(now, AUTHORITY_LIFETIME),
      signingAlgorithm: { name: 'Ed25519' },
      keys,
      extensions: [
        new x509.BasicConstraintsExtension(true, 0, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey, false, webcrypto),
      ],
    },
    webcrypto,
  )
  return { certificate: certificate.toString('pem'), key }
}

/** `sha256:<hex>` of the certificate's public key (SPKI, DER). @throws TapestryError INVALID_ARGUMENT if it is not PEM. */
export function federationIdOf(certificate: string): FederationId {
  return fingerprintOf(parsePem(certificate))
}

/**
 * Makes a server certificate with a fresh key.
 * @param hostnames DNS names and IP addresses that clients may connect to; at least one.
 * @throws TapestryError INVALID_ARGUMENT for something that is neither.
 */
export async function issueServerCertificate(
  authority: Authority,
  hostnames: readonly string[],
  now: Millis,
): Promise<ServerCertificate> {
  const [first] = hostnames
  if (first === undefined) throw new TapestryError('INVALID_ARGUMENT', 'a server certificate needs a host name')
  const key = generateKey('ed25519').privateKey
  const certificate = await issue(authority, {
    subject: first,
    publicKey: (await webKeyPair(key)).publicKey,
    now,
    lifetimeMs: SERVER_LIFETIME,
    alternativeNames: hostnames.map(hostName),
    usage: x509.ExtendedKeyUsage.serverAuth,
  })
  return { certificate, key }
}

/**
 * Makes a client certificate for a key whose holder has proved it, and for the identity that the caller has checked.
 * Nothing else is taken from the request.
 * @param request PKCS #10, DER.
 * @throws TapestryError INVALID_ARGUMENT or VERIFICATION_FAILED for a bad request.
 */
export async function issueClientCertificate(
  authority: Authority,
  request: Uint8Array,
  identity: CertificateIdentity,
  now: Millis,
  lifetimeMs: Millis = CLIENT_LIFETIME,
): Promise<string> {
  return issue(authority, {
    subject: identity.kind === 'node' ? identity.node : identity.name,
    publicKey: await webPublicKey(await requestedKey(request)),
    now,
    lifetimeMs,
    alternativeNames: [{ type: 'url', value: identityUri(federationIdOf(authority.certificate), identity) }],
    usage: x509.ExtendedKeyUsage.clientAuth,
  })
}

type Leaf = {
  readonly subject: string
  readonly publicKey: webcrypto.CryptoKey
  readonly now: Millis
  readonly lifetimeMs: Millis
  readonly alternativeNames: x509.JsonGeneralNames
  readonly usage: x509.ExtendedKeyUsage
}

async function issue(authority: Authority, leaf: Leaf): Promise<string> {
  const issuer = new x509.X509Certificate(authority.certificate)
  const signingKey = (await webKeyPair(authority.key)).privateKey
  const certificate = await x509.X509CertificateGenerator.create(
    {
      serialNumber: serialNumber(),
      subject: commonName(leaf.subject),
      issuer: issuer.subjectName.toJSON(),
      ...validity(leaf.now, leaf.lifetimeMs),
      signingAlgorithm: signingAlgorithmOf(signingKey.algorithm.name),
      publicKey: leaf.publicKey,
      signingKey,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension([leaf.usage]),
        new x509.SubjectAlternativeNameExtension(leaf.alternativeNames),
        await x509.AuthorityKeyIdentifierExtension.create(issuer, false, webcrypto),
      ],
    },
    webcrypto,
  )
  return certificate.toString('pem')
}

function validity(now: Millis, lifetimeMs: Millis): { notBefore: Date; notAfter: Date } {
  return { notBefore: new Date(now - CLOCK_SKEW), notAfter: new Date(now + lifetimeMs) }
}

/** As a structure, not as text: a name may hold commas and equals signs. RFC 5280 allows a common name 64 characters. */
function commonName(name: string): x509.JsonName {
  return [{ CN: [[...name].slice(0, 64).join('')] }]
}

/** Positive and 127 bits of randomness (RFC 5280, 4.1.2.2; CA/Browser Forum asks for 64). */
function serialNumber(): string {
  const bytes = randomBytes(16)
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40
  return bytes.toString('hex')
}

const DNS_NAME = /^(?=.{1,253}$)(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*$/

function hostName(name: string): x509.JsonGeneralName {
  if (isIP(name) !== 0) return { type: 'ip', value: name }
  if (DNS_NAME.test(name)) return { type: 'dns', value: name }
  throw new TapestryError('INVALID_ARGUMENT', `not a host name or IP address: "${name.slice(0, 80)}"`)
}

function webPublicKey(key: KeyObject): Promise<webcrypto.CryptoKey> {
  const der = key.export({ type: 'spki', format: 'der' })
  const algorithm =
    publicKeyFromDer(der).asymmetricKeyType === 'ed25519' ? { name: 'Ed25519' } : { name: 'ECDSA', namedCurve: 'P-256' }
  return webcrypto.subtle.importKey('spki', der, algorithm, true, ['verify'])
}

function parsePem(pem: string): X509Certificate {
  try {
    return new X509Certificate(pem)
  } catch (cause) {
    throw new TapestryError('INVALID_ARGUMENT', 'not a PEM certificate', { cause })
  }
}
