import 'reflect-metadata'
import { createPublicKey, generateKeyPairSync, type KeyObject, webcrypto } from 'node:crypto'
import { BasicConstraintsExtension, X509CertificateGenerator } from '@peculiar/x509'
import { keyIdOf } from '../../src/core/signature.ts'
import { type FederationRecord, federationIdOf } from '../../src/model/federation-record.ts'

export type TestFederation = {
  readonly record: FederationRecord
  readonly caKey: KeyObject
  readonly releaseKey: KeyObject
  readonly releaseKeyPem: string
}

/** A federation with a fresh Ed25519 authority and one P-256 release key. `ca: false` makes a leaf certificate. */
export async function makeFederation(options: { name?: string; ca?: boolean } = {}): Promise<TestFederation> {
  const authority = generateKeyPairSync('ed25519')
  const release = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const caCertificate = await issueCertificate(authority.privateKey, { ca: options.ca ?? true })
  const releaseKeyPem = release.publicKey.export({ type: 'spki', format: 'pem' }).toString()
  const record: FederationRecord = {
    format: 'tapestry-federation/1',
    id: federationIdOf(caCertificate),
    name: options.name ?? 'Test federation',
    caCertificate,
    releaseKeys: [{ keyId: keyIdOf(release.publicKey), publicKey: releaseKeyPem }],
  }
  return { record, caKey: authority.privateKey, releaseKey: release.privateKey, releaseKeyPem }
}

/** A self-signed certificate of an Ed25519 key, valid until the end of `year`. */
export async function issueCertificate(key: KeyObject, { ca = true, year = 2045 } = {}): Promise<string> {
  const { subtle } = webcrypto
  const pkcs8 = key.export({ type: 'pkcs8', format: 'der' })
  const spki = createPublicKey(key).export({ type: 'spki', format: 'der' })
  const certificate = await X509CertificateGenerator.createSelfSigned(
    {
      serialNumber: '01',
      name: 'CN=Test CA',
      notBefore: new Date('2026-01-01T00:00:00Z'),
      notAfter: new Date(`${year}-12-31T00:00:00Z`),
      signingAlgorithm: { name: 'Ed25519' },
      keys: {
        privateKey: await subtle.importKey('pkcs8', pkcs8, { name: 'Ed25519' }, true, ['sign']),
        publicKey: await subtle.importKey('spki', spki, { name: 'Ed25519' }, true, ['verify']),
      },
      extensions: [new BasicConstraintsExtension(ca, undefined, true)],
    },
    webcrypto,
  )
  return `${certificate.toString('pem')}\n`
}
