import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import type { IncomingHttpHeaders } from 'node:http'
import { Agent, type RequestOptions, request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import {
  type ClientCertificate,
  type TestFederation,
  testFederation,
  testNode,
  testNodeId,
} from '../../test/federation.ts'
import { keepUnchecked } from '../../test/partials.ts'
import { type TestDatabase, testDatabase } from '../../test/postgres.ts'
import { type Digest, digestOf } from '../core/digest.ts'
import { ensureMemberId, type NodeId } from '../core/ids.ts'
import { RAW_BODY } from '../core/raw-body.ts'
import { createGrpcServer } from '../rpc/grpc-server.ts'
import { type Listener, listen } from '../rpc/listener.ts'
import type { BlobStore } from '../store/blob-store.ts'
import { openBlobs } from '../store/blobs.ts'
import { migrate } from '../store/migrate.ts'
import { openStore } from '../store/prisma-store.ts'
import type { Store } from '../store/store.ts'
import { announceUpload } from '../store/uploads.ts'
import { artifactHandler, artifactTakeover, type TransferContext } from './artifact-handler.ts'

const NODE = testNodeId('a')
const OTHER = testNodeId('b')
const SUSPENDED = testNodeId('c')
const BYTES = Buffer.from(Array.from({ length: 700_001 }, (_, i) => (i * 31) % 251))
const DIGEST = digestOf(BYTES)
const HOUR = 3_600_000
const log = pino({ level: 'silent' })

let database: TestDatabase
let store: Store
let federation: TestFederation
const certificates: Record<string, ClientCertificate> = {}

beforeAll(async () => {
  database = await testDatabase()
  await migrate(database.url)
  store = await openStore({ url: database.url })
  federation = await testFederation()
  await store.transact('nodes', async (tx) => {
    await tx.ensureMember(ensureMemberId('member'), 0)
    for (const id of [NODE, OTHER, SUSPENDED]) await tx.createNode(testNode(id))
    await tx.setNodeStatus(SUSPENDED, 'suspended', null, 0)
  })
  certificates['node'] = await federation.issue({ kind: 'node', node: NODE })
  certificates['other'] = await federation.issue({ kind: 'node', node: OTHER })
  certificates['suspended'] = await federation.issue({ kind: 'node', node: SUSPENDED })
  certificates['operator'] = await federation.issue({ kind: 'operator', name: 'ana' })
})

afterAll(async () => {
  await store.close()
  await database.drop()
})

let directory: string
let blobs: BlobStore
let ctx: TransferContext
let listener: Listener
let now: number
let free: number
let released: Set<Digest>
let candidates: Set<Digest>
let payloads: Map<Digest, NodeId>
/** Sent with every request. */
let manner: Record<string, string> = {}

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'transfer-'))
  blobs = await openBlobs(directory)
  now = Date.now()
  free = Number.POSITIVE_INFINITY
  released = new Set()
  candidates = new Set()
  payloads = new Map()
  ctx = {
    federation: federation.id,
    // What an artifact is comes from a whole round; here sets say it.
    store: {
      ...store,
      reader: {
        ...store.reader,
        isReleased: async (digest) => released.has(digest),
        isCandidate: async (digest) => candidates.has(digest),
        payloadOwners: async (digest) => [payloads.get(digest) ?? []].flat(),
        isReviewer: async () => false,
      },
    },
    blobs,
    clock: { now: () => now },
    config: {
      maxArtifactBytes: 4_000_000,
      maxOpenUploads: 2,
      maxOpenBytes: 8_000_000,
      maxRoundBytes: Number.POSITIVE_INFINITY,
      minBytesPerSecond: 0,
      minFreeBytes: 1000,
    },
    freeBytes: async () => free,
    log,
  }
  listener = await listen({
    host: '127.0.0.1',
    port: 0,
    certificate: federation.server,
    authority: federation.authority.certificate,
    grpc: createGrpcServer(),
    http: artifactHandler(ctx),
    upgrade: artifactTakeover(ctx),
    log,
  })
})

afterEach(async () => {
  await listener.close(0)
  await store.transact('clean', async (tx) => {
    for (const node of [NODE, OTHER])
      for (const { digest } of await tx.uploadsOf(node)) await tx.removeUploads([digest])
  })
  await rm(directory, { recursive: true })
})

type Answer = { status: number | undefined; headers: IncomingHttpHeaders; body: Buffer; code: unknown }
type Sent = { method?: string; headers?: Record<string, string | number>; body?: Buffer; agent?: Agent; path?: string }

const optionsOf = (who: string | undefined, sent: Sent): RequestOptions => {
  const client = who === undefined ? undefined : certificates[who]
  return {
    host: '127.0.0.1',
    port: listener.port,
    ca: federation.authority.certificate,
    agent: sent.agent ?? false,
    method: sent.method ?? 'GET',
    path: sent.path ?? `/v1/artifacts/${DIGEST}`,
    headers: { ...manner, ...sent.headers },
    ...client,
  }
}

async function send(who: string | undefined, sent: Sent = {}): Promise<Answer> {
  const outgoing = request(optionsOf(who, sent))
  outgoing.end(sent.body)
  const [response] = await once(outgoing, 'response')
  // Refused in the middle of its body, a client may still be writing when the server goes away.
  outgoing.on('error', () => undefined)
  const chunks: Buffer[] = []
  for await (const chunk of response) chunks.push(chunk)
  const body = Buffer.concat(chunks)
  const isProblem = response.headers['content-type'] === 'application/problem+json' && body.length > 0
  const problem: { code?: unknown } = isProblem ? JSON.parse(body.toString()) : {}
  return { status: response.statusCode, headers: response.headers, body, code: problem.code }
}

const announce = (node = NODE, digest = DIGEST, size = BYTES.length) => announceUpload(ctx, node, digest, size)
const part = (start: number, end: number, size = BYTES.length): Sent => ({
  method: 'PUT',
  headers: { 'Content-Range': `bytes ${start}-${end - 1}/${size}` },
  body: BYTES.subarray(start, end),
})
const rejections = async () => store.reader.rejectionCounts()

describe.each([
  ['plain', {}],
  ['raw', { Connection: 'close, Upgrade', Upgrade: RAW_BODY }],
])('upload with a %s body', (kind, headers) => {
  beforeAll(() => {
    manner = headers
  })
  afterAll(() => {
    manner = {}
  })

  it('arrives whole and is checked', async () => {
    expect(await announce()).toEqual({ kind: 'open', offset: 0, size: BYTES.length })
    const answer = await send('node', { method: 'PUT', headers: { 'Content-Length': BYTES.length }, body: BYTES })
    expect(answer.status).toBe(201)
    expect(answer.headers['tapestry-offset']).toBe(String(BYTES.length))
    expect(await blobs.stat(DIGEST)).toEqual({ digest: DIGEST, size: BYTES.length })
    expect(await store.reader.upload(DIGEST)).toBeUndefined()
    expect(await announce(OTHER)).toMatchObject({ kind: 'complete' })
    expect((await send('node', part(0, BYTES.length))).status).toBe(201)
  })

  it('arrives in parts, in order only', async () => {
    await announce()
    expect(await send('node', part(0, 300_000))).toMatchObject({
      status: 200,
      headers: { 'tapestry-offset': '300000' },
    })
    const gap = await send('node', part(400_000, BYTES.length))
    expect(gap).toMatchObject({ status: 409, headers: { 'tapestry-offset': '300000' } })
    expect(await send('node', part(0, 300_000))).toMatchObject({
      status: 409,
      headers: { 'tapestry-offset': '300000' },
    })
    expect(await announce()).toMatchObject({ kind: 'open', offset: 300_000 })
    expect((await send('node', part(300_000, BYTES.length))).status).toBe(201)
  })

  it('keeps what arrived before the connection was cut', async () => {
    const bytes = Buffer.alloc(3_000_000, BYTES)
    const digest = digestOf(bytes)
    await announce(NODE, digest, bytes.length)
    const path = `/v1/artifacts/${digest}`
    const cut = request(optionsOf('node', { method: 'PUT', path, headers: { 'Content-Length': bytes.length } }))
    cut.on('error', () => undefined)
    cut.write(bytes.subarray(0, 2_000_000))
    while ((await blobs.partial(digest)) === 0) await new Promise((resolve) => setTimeout(resolve, 5))
    cut.destroy()
    const rest = (start: number) => ({
      method: 'PUT',
      path,
      headers: { 'Content-Range': `bytes ${start}-${bytes.length - 1}/${bytes.length}` },
      body: bytes.subarray(start),
    })
    // The writer lets go of the partial when it has noticed; an append in the wrong place writes nothing.
    const noticed = async () => {
      const answer = await send('node', rest(bytes.length - 1))
      return answer.status === 409 ? Number(answer.headers['tapestry-offset']) : undefined
    }
    let kept: number | undefined
    while (kept === undefined) kept = await noticed()
    expect(kept).toBeGreaterThan(0)
    expect(kept).toBeLessThanOrEqual(2_000_000)
    expect((await send('node', rest(kept))).status).toBe(201)
  })

  it('leaves behind what its bytes hold, in one go or in parts', async () => {
    const header = Buffer.alloc(64, ' ')
    header.writeBigUInt64LE(56n)
    header.write('{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', 8)
    const tensors = [{ name: 'a', dtype: 'F32', shape: [2], squares: 25, nonFinite: null }]
    for (const [start, cuts] of [
      [3, [72]],
      [4, [1, 9, 63, 66, 72]],
    ] as const) {
      const bytes = Buffer.concat([header, Buffer.from(Float32Array.of(start, start === 3 ? 4 : -3).buffer)])
      const digest = digestOf(bytes)
      await announce(NODE, digest, bytes.length)
      let from = 0
      for (const to of cuts) {
        const headers = { 'Content-Range': `bytes ${from}-${to - 1}/${bytes.length}`, 'Content-Length': to - from }
        const path = `/v1/artifacts/${digest}`
        await send('node', { method: 'PUT', path, headers, body: bytes.subarray(from, to) })
        from = to
      }
      expect(await store.reader.inspection(digest)).toEqual({ kind: 'tensors', bytes: 72, headerBytes: 64, tensors })
    }
  })

  it('is refused when its bytes have another digest, and recorded', async () => {
    const before = (await rejections()).get('DIGEST_MISMATCH') ?? 0
    await announce()
    const body = Buffer.from(BYTES)
    body[5] = 0xff
    expect(await send('node', { ...part(0, BYTES.length), body })).toMatchObject({
      status: 422,
      code: 'DIGEST_MISMATCH',
    })
    expect((await rejections()).get('DIGEST_MISMATCH')).toBe(before + 1)
    expect(await store.reader.upload(DIGEST)).toBeUndefined()
    expect(await announce()).toMatchObject({ kind: 'open', offset: 0 })
  })

  it.runIf(kind === 'plain')('is refused when more comes than was announced', async () => {
    const before = (await rejections()).get('TOO_LARGE') ?? 0
    await announce(NODE, DIGEST, 1000)
    const headers = { 'Content-Range': 'bytes 0-999/1000', 'Transfer-Encoding': 'chunked' }
    expect(await send('node', { method: 'PUT', headers, body: BYTES })).toMatchObject({
      status: 413,
      code: 'TOO_LARGE',
    })
    expect((await rejections()).get('TOO_LARGE')).toBe(before + 1)
    expect(await blobs.partial(DIGEST)).toBe(0)
  })

  it.runIf(kind === 'plain').each([
    ['more than was announced', 0, 413],
    ['in the wrong place', 5, 409],
  ])('tells a sender why in the middle of a long body: %s', async (_, start, status) => {
    const size = 1_000_000
    await announce(NODE, DIGEST, size)
    const headers = { 'Content-Range': `bytes ${start}-${size - 1}/${size}`, 'Transfer-Encoding': 'chunked' }
    expect(await send('node', { method: 'PUT', headers, body: Buffer.alloc(64 * size) })).toMatchObject({ status })
  })

  it.runIf(kind === 'raw')('tells a sender why in the middle of a long body, and lets go of it', async () => {
    const size = 4_000_000
    await announce(NODE, DIGEST, size)
    const headers = { 'Content-Range': `bytes 5-${size - 1}/${size}`, 'Content-Length': size - 5 }
    const outgoing = request(optionsOf('node', { method: 'PUT', headers }))
    outgoing.on('error', () => undefined)
    outgoing.write(Buffer.alloc(2_000_000))
    const [response] = await once(outgoing, 'response')
    expect(response.statusCode).toBe(409)
    outgoing.end(Buffer.alloc(size - 2_000_005))
    await once(response.resume(), 'close')
  })

  it.runIf(kind === 'raw')('refuses chunks, and takes nothing after the body', async () => {
    await announce()
    const chunked = {
      'Content-Range': part(0, BYTES.length).headers?.['Content-Range'] ?? '',
      'Transfer-Encoding': 'chunked',
    }
    expect(await send('node', { method: 'PUT', headers: chunked, body: BYTES })).toMatchObject({ status: 400 })
    expect(await blobs.partial(DIGEST)).toBe(0)
    const surplus = request(optionsOf('node', { method: 'PUT', headers: { 'Content-Length': BYTES.length } }))
    surplus.on('error', () => undefined)
    surplus.write(BYTES)
    surplus.on('socket', (socket) => socket.on('secureConnect', () => socket.write(BYTES)))
    expect((await once(surplus, 'response'))[0].statusCode).toBe(201)
  })

  it('checks bytes that were all here when the process ended', async () => {
    await announce()
    await keepUnchecked(directory, DIGEST, BYTES)
    expect(await announce()).toMatchObject({ kind: 'complete', offset: BYTES.length })
  })

  it('asks before it sends, if the sender wishes', async () => {
    const ask = async () => {
      const sent = part(0, BYTES.length)
      const headers = { ...sent.headers, Expect: '100-continue', 'Content-Length': BYTES.length }
      const outgoing = request(optionsOf('node', { ...sent, headers }))
      outgoing.flushHeaders()
      return {
        outgoing,
        first: await Promise.race([
          once(outgoing, 'continue').then(() => 'continue'),
          once(outgoing, 'response').then(([r]) => r.statusCode),
        ]),
      }
    }
    const unannounced = await ask()
    expect(unannounced.first).toBe(412)
    unannounced.outgoing.destroy()
    await announce()
    const { outgoing, first } = await ask()
    expect(first).toBe('continue')
    outgoing.end(BYTES)
    expect((await once(outgoing, 'response'))[0].statusCode).toBe(201)
  })

  it.each([
    [undefined, 401, 'UNAUTHENTICATED'],
    ['operator', 403, 'PERMISSION_DENIED'],
    ['suspended', 403, 'PERMISSION_DENIED'],
    ['other', 412, 'FAILED_PRECONDITION'],
  ])('is refused to %s', async (who, status, code) => {
    await announce()
    expect(await send(who, part(0, 1000))).toMatchObject({ status, code })
    expect(await blobs.partial(DIGEST)).toBe(0)
  })

  it.each([
    ['bytes 0-9/5', undefined],
    ['bytes 9-0/700001', undefined],
    ['bytes 0-5/700001', 1000],
    ['bytes 0-99999999999999999/700001', undefined],
    ['bytes */700001', undefined],
    ['bytes -5-9/700001', undefined],
    ['0-9/10', undefined],
  ])('refuses Content-Range %s', async (range, length) => {
    await announce()
    const headers = { 'Content-Range': range, ...(length && { 'Content-Length': length }) }
    const sent = { method: 'PUT', headers, body: BYTES.subarray(0, length ?? 10) }
    expect(await send('node', sent)).toMatchObject({ status: 400, code: 'INVALID_ARGUMENT' })
    expect(await blobs.partial(DIGEST)).toBe(0)
  })

  it.each([
    ['less than was announced', -1, 400, 'INVALID_ARGUMENT'],
    ['more than was announced', 1, 413, 'TOO_LARGE'],
  ])('refuses, before a byte is taken, %s', async (_, more, status, code) => {
    await announce()
    const headers = { 'Content-Range': `bytes 0-999/${BYTES.length + more}`, 'Content-Length': 1000 }
    const sent = { method: 'PUT', headers, body: BYTES.subarray(0, 1000) }
    expect(await send('node', sent)).toMatchObject({ status, code })
    expect(await blobs.partial(DIGEST)).toBe(0)
  })

  it('survives TLS session resumption', async () => {
    await announce()
    const agent = new Agent({ keepAlive: false, maxCachedSessions: 10 })
    for (let start = 0; start < 5; start++) {
      expect((await send('node', { ...part(start * 1000, start * 1000 + 1000), agent })).status).toBe(200)
    }
    agent.destroy()
  })
})

describe('announcement', () => {
  const digest = (n: number) => digestOf(`artifact ${n}`)

  it.each([0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY])('refuses the size %d', async (size) => {
    await expect(announce(NODE, DIGEST, size)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })

  it('refuses what is too large, another size, and a full disk', async () => {
    await expect(announce(NODE, DIGEST, 4_000_001)).rejects.toMatchObject({ code: 'TOO_LARGE' })
    await announce()
    await expect(announce(NODE, DIGEST, 5)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    free = BYTES.length + 999
    await expect(announce()).rejects.toMatchObject({ code: 'DISK_FULL' })
  })

  it('keeps nodes apart and limits each, until their uploads go stale', async () => {
    for (const n of [1, 2]) await announce(NODE, digest(n), 10)
    await expect(announce(NODE, digest(3), 10)).rejects.toMatchObject({ code: 'RESOURCE_EXHAUSTED' })
    await expect(announce(OTHER, digest(1), 10)).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' })
    await blobs.append(digest(1), 0, 10, Buffer.from('12345'))
    now += HOUR + 1
    expect(await announce(NODE, digest(3), 10)).toMatchObject({ kind: 'open' })
    expect(await blobs.partial(digest(1))).toBe(0)
    expect(await announce(OTHER, digest(1), 20)).toEqual({ kind: 'open', offset: 0, size: 20 })
  })
})

describe('download', () => {
  beforeEach(async () => {
    await blobs.put(BYTES)
    candidates.add(DIGEST)
  })

  it('gives a delta to the node that sent it and to operators, not to other nodes', async () => {
    candidates.clear()
    payloads.set(DIGEST, NODE)
    for (const who of ['node', 'operator']) expect((await send(who)).body.equals(BYTES)).toBe(true)
    expect(await send('other')).toMatchObject({ status: 404, code: 'NOT_FOUND' })
  })

  it('is anyone’s when released, and members’ while it is a candidate', async () => {
    expect(await send(undefined)).toMatchObject({ status: 401, code: 'UNAUTHENTICATED' })
    expect(await send('suspended')).toMatchObject({ status: 403, code: 'PERMISSION_DENIED' })
    for (const who of ['node', 'other', 'operator']) expect((await send(who)).body.equals(BYTES)).toBe(true)
    released.add(DIGEST)
    const answer = await send(undefined)
    expect(answer.body.equals(BYTES)).toBe(true)
    expect(answer.headers).toMatchObject({
      etag: `"${DIGEST}"`,
      'accept-ranges': 'bytes',
      'content-length': String(BYTES.length),
    })
  })

  it('does not tell strangers what exists', async () => {
    const path = `/v1/artifacts/${digestOf('absent')}`
    expect(await send(undefined, { path })).toMatchObject({ status: 401 })
    expect(await send('node', { path })).toMatchObject({ status: 404, code: 'NOT_FOUND' })
  })

  it.each([
    ['bytes=0-0', 206, 0, 1],
    ['bytes=300000-', 206, 300_000, BYTES.length],
    ['bytes=-5', 206, BYTES.length - 5, BYTES.length],
    ['bytes=700000-9999999', 206, 700_000, BYTES.length],
    ['bytes=5-2', 200, 0, BYTES.length],
    ['bytes=0-1,5-6', 200, 0, BYTES.length],
    ['lines=1-2', 200, 0, BYTES.length],
  ])('sends %s', async (range, status, start, end) => {
    const answer = await send('node', { headers: { Range: range } })
    expect(answer.status).toBe(status)
    expect(answer.body.equals(BYTES.subarray(start, end))).toBe(true)
    if (status === 206) expect(answer.headers['content-range']).toBe(`bytes ${start}-${end - 1}/${BYTES.length}`)
  })

  it.each(['bytes=700001-', 'bytes=9999999-', 'bytes=-0'])('has nothing at %s', async (range) => {
    const answer = await send('node', { headers: { Range: range } })
    expect(answer).toMatchObject({ status: 416, headers: { 'content-range': `bytes */${BYTES.length}` } })
  })

  it('answers HEAD, If-Range and If-None-Match', async () => {
    const head = await send('node', { method: 'HEAD' })
    expect(head).toMatchObject({ status: 200, headers: { 'content-length': String(BYTES.length) } })
    expect(head.body.length).toBe(0)
    expect((await send('node', { headers: { 'If-None-Match': `W/"x", "${DIGEST}"` } })).status).toBe(304)
    const other = await send('node', { headers: { Range: 'bytes=0-0', 'If-Range': '"other"' } })
    expect(other.status).toBe(200)
    const same = await send('node', { headers: { Range: 'bytes=0-0', 'If-Range': `"${DIGEST}"` } })
    expect(same.status).toBe(206)
  })

  it.each([
    ['DELETE', `/v1/artifacts/${DIGEST}`, 405],
    ['GET', '/v1/artifacts/', 400],
    ['GET', '/v1/artifacts/sha256:../../etc/passwd', 400],
    ['GET', `/v1/artifacts/${DIGEST.toUpperCase()}`, 400],
    ['GET', '/elsewhere', 404],
  ])('refuses %s %s', async (method, path, status) => {
    expect((await send('node', { method, path })).status).toBe(status)
  })
})
