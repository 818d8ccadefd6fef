import { createHash, X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { createServer as createTcpServer, type Server } from 'node:net'
import { createServer } from 'node:tls'
import { afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type TestFederation, testFederation, testNodeId } from '../../test/federation.ts'
import { ensureFederationId } from '../core/ids.ts'
import { federationIdOf, issueServerCertificate } from '../identity/certificate-authority.ts'
import { pinAuthority } from './pinned-authority.ts'

let ours: TestFederation
let theirs: TestFederation
const open: Server[] = []
const wrong = { code: 'WRONG_FEDERATION' }

beforeAll(async () => {
  ours = await testFederation()
  theirs = await testFederation()
})

afterEach(async () => {
  for (const server of open.splice(0)) {
    server.close()
    await once(server, 'close')
  }
})

/** Serves a key with a chain of PEM certificates, and counts the bytes that clients send. */
async function serve(key: string, ...chain: string[]) {
  let received = 0
  const server = createServer({ key, cert: chain.join('\n'), minVersion: 'TLSv1.3' }, (socket) => {
    socket.on('error', () => undefined)
    socket.on('data', (data) => {
      received += data.length
    })
  })
  return { ...(await listening(server)), received: () => received }
}

async function listening(server: Server) {
  open.push(server)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  return { address: `127.0.0.1:${typeof address === 'object' && address ? address.port : 0}` }
}

describe('pinned authority', () => {
  it('is the one whose key has the fingerprint, found without sending anything', async () => {
    const { address, received } = await serve(ours.server.key, ours.server.certificate, ours.authority.certificate)
    const found = await pinAuthority(address, ours.id)
    expect(new X509Certificate(found).raw).toEqual(new X509Certificate(ours.authority.certificate).raw)
    expect(federationIdOf(found)).toBe(ours.id)
    expect(received()).toBe(0)
  })

  it('is not another federation', async () => {
    const { address } = await serve(theirs.server.key, theirs.server.certificate, theirs.authority.certificate)
    await expect(pinAuthority(address, ours.id)).rejects.toMatchObject(wrong)
  })

  it('is not claimed by showing its certificate beside a leaf that it did not sign', async () => {
    const { address } = await serve(theirs.server.key, theirs.server.certificate, ours.authority.certificate)
    await expect(pinAuthority(address, ours.id)).rejects.toMatchObject(wrong)
  })

  it('is not claimed by a leaf that copies its name and key id but not its signature', async () => {
    const forger = { certificate: ours.authority.certificate, key: theirs.authority.key }
    const forged = await issueServerCertificate(forger, ['127.0.0.1'], Date.now())
    const { address } = await serve(forged.key, forged.certificate, ours.authority.certificate)
    await expect(pinAuthority(address, ours.id)).rejects.toMatchObject(wrong)
  })

  it('is not a leaf whose key has the fingerprint', async () => {
    const leaf = new X509Certificate(ours.server.certificate)
    const spki = leaf.publicKey.export({ type: 'spki', format: 'der' })
    const id = ensureFederationId(`sha256:${createHash('sha256').update(spki).digest('hex')}`)
    const { address } = await serve(ours.server.key, ours.server.certificate, ours.authority.certificate)
    await expect(pinAuthority(address, id)).rejects.toMatchObject(wrong)
  })

  it('is not spoken for by a node, another host, or an old certificate', async () => {
    const node = await ours.issue({ kind: 'node', node: testNodeId('a') })
    const byNode = await serve(node.key, node.cert, ours.authority.certificate)
    await expect(pinAuthority(byNode.address, ours.id)).rejects.toMatchObject(wrong)
    const elsewhere = await issueServerCertificate(ours.authority, ['example.org'], Date.now())
    const byOther = await serve(elsewhere.key, elsewhere.certificate, ours.authority.certificate)
    await expect(pinAuthority(byOther.address, ours.id)).rejects.toMatchObject(wrong)
    const old = await issueServerCertificate(ours.authority, ['127.0.0.1'], Date.now() - 91 * 86_400_000)
    const byOld = await serve(old.key, old.certificate, ours.authority.certificate)
    await expect(pinAuthority(byOld.address, ours.id)).rejects.toMatchObject(wrong)
  })

  it('is not presented at all', async () => {
    const { address } = await serve(ours.server.key, ours.server.certificate)
    await expect(pinAuthority(address, ours.id)).rejects.toMatchObject(wrong)
  })

  it('is out of reach where nobody speaks TLS', async () => {
    const { address } = await listening(
      createTcpServer((socket) =>
        socket
          .on('error', () => undefined)
          .resume()
          .end('hello'),
      ),
    )
    await expect(pinAuthority(address, ours.id)).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    await expect(pinAuthority('127.0.0.1:1', ours.id)).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    await expect(pinAuthority('nonsense', ours.id)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })
})
