import { createHash, generateKeyPairSync, X509Certificate } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { ensureFederationId, ensureNodeId } from '../core/ids.ts'
import {
  CLIENT_LIFETIME,
  createAuthority,
  federationIdOf,
  issueClientCertificate,
  issueServerCertificate,
} from './certificate-authority.ts'
import { certificateIdentity } from './certificate-identity.ts'
import { createCertificateRequest, requestedKey } from './certificate-request.ts'
import { generateKey, publicKeyOf } from './key-file.ts'

const NOW = Date.UTC(2026, 10, 23)
const MINUTE = 60_000
const NODE = ensureNodeId(`node-${'ab'.repeat(16)}`)
const authority = await createAuthority('Proof, O=of=names', NOW)
const federation = federationIdOf(authority.certificate)
const request = await createCertificateRequest(generateKey('p-256').privateKey)

const clientOf = (identity: Parameters<typeof issueClientCertificate>[2], lifetimeMs?: number) =>
  issueClientCertificate(authority, request, identity, NOW, lifetimeMs)

describe('authority', () => {
  it('is a certificate authority whose key names the federation', () => {
    const certificate = new X509Certificate(authority.certificate)
    expect(certificate.ca).toBe(true)
    expect(certificate.verify(certificate.publicKey)).toBe(true)
    expect(certificate.publicKey.asymmetricKeyType).toBe('ed25519')
    const spki = certificate.publicKey.export({ type: 'spki', format: 'der' })
    expect(federation).toBe(`sha256:${createHash('sha256').update(spki).digest('hex')}`)
    expect(certificate.subject).toBe('CN=Proof\\, O=of=names')
  })

  it('refuses names that would write on a terminal', async () => {
    await expect(createAuthority('a\u001b[2Jb', NOW)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })

  it('issues server certificates for names and addresses', async () => {
    const server = await issueServerCertificate(authority, ['example.org', '127.0.0.1', '::1'], NOW)
    const certificate = new X509Certificate(server.certificate)
    expect(certificate.checkIssued(new X509Certificate(authority.certificate))).toBe(true)
    expect(certificate.verify(new X509Certificate(authority.certificate).publicKey)).toBe(true)
    expect(certificate.checkHost('example.org')).toBe('example.org')
    expect(certificate.checkHost('example.com')).toBeUndefined()
    expect(certificate.checkIP('127.0.0.1')).toBe('127.0.0.1')
    expect(certificate.checkIP('::1')).toBe('::1')
    expect(certificate.ca).toBe(false)
    expect(certificateIdentity(certificate.raw, federation, NOW)).toBeUndefined()
  })

  it.each([[[]], [['']], [['*.example.org']], [['a b']], [['-a.org']], [[`${'a'.repeat(64)}.org`]]])(
    'refuses %j as host names',
    async (names) => {
      await expect(issueServerCertificate(authority, names, NOW)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    },
  )
})

describe('client certificates', () => {
  it('carry a node or an operator', async () => {
    const node = new X509Certificate(await clientOf({ kind: 'node', node: NODE }))
    expect(certificateIdentity(node.raw, federation, NOW)).toEqual({ kind: 'node', node: NODE })
    const operator = new X509Certificate(await clientOf({ kind: 'operator', name: 'ana' }))
    expect(certificateIdentity(operator.raw, federation, NOW)).toEqual({ kind: 'operator', name: 'ana' })
  })

  it('begin a little early and end on time', async () => {
    const { raw } = new X509Certificate(await clientOf({ kind: 'node', node: NODE }))
    const at = (now: number) => certificateIdentity(raw, federation, now)?.kind
    expect([at(NOW - 4 * MINUTE), at(NOW - 6 * MINUTE)]).toEqual(['node', undefined])
    expect([at(NOW + CLIENT_LIFETIME), at(NOW + CLIENT_LIFETIME + 1)]).toEqual(['node', undefined])
    const short = new X509Certificate(await clientOf({ kind: 'node', node: NODE }, MINUTE))
    expect(certificateIdentity(short.raw, federation, NOW + 2 * MINUTE)).toBeUndefined()
  })

  it('say nothing to another federation', async () => {
    const { raw } = new X509Certificate(await clientOf({ kind: 'node', node: NODE }))
    expect(certificateIdentity(raw, ensureFederationId(`sha256:${'0'.repeat(64)}`), NOW)).toBeUndefined()
    expect(certificateIdentity(raw.subarray(0, 100), federation, NOW)).toBeUndefined()
    expect(certificateIdentity(new Uint8Array(0), federation, NOW)).toBeUndefined()
  })

  it('refuse operator names that would change the URI', async () => {
    await expect(clientOf({ kind: 'operator', name: `x/../node/${NODE}` })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    })
  })
})

describe('certificate requests', () => {
  it.each(['ed25519', 'p-256'] as const)('hand over an %s key', async (kind) => {
    const key = generateKey(kind)
    const requested = await requestedKey(await createCertificateRequest(key.privateKey))
    expect(requested.export({ type: 'spki', format: 'pem' })).toBe(publicKeyOf(key.privateKey))
  })

  it('refuse a request that was changed', async () => {
    const forged = Uint8Array.from(request)
    const last = forged.length - 1
    forged[last] = (forged[last] ?? 0) ^ 1
    await expect(requestedKey(forged)).rejects.toMatchObject({ code: 'VERIFICATION_FAILED' })
  })

  it.each([
    ['nothing', new Uint8Array(0)],
    ['noise', Buffer.from('not DER at all')],
    ['a cut request', request.subarray(0, request.length - 40)],
    ['a huge request', new Uint8Array(100_000)],
    ['a certificate', new X509Certificate(authority.certificate).raw],
  ])('refuse %s', async (_, der) => {
    await expect(requestedKey(der)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })

  it('refuse keys of other kinds', async () => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'secp384r1' })
    const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
    await expect(createCertificateRequest(pem)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })
})
