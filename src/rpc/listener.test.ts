import { request as httpsRequest } from 'node:https'
import { connect as connectTcp, createServer as createTcpServer } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { Client, credentials, Metadata, status } from '@grpc/grpc-js'
import { pino } from 'pino'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import {
  type ClientCertificate,
  type TestFederation,
  testFederation,
  testNode,
  testNodeId,
} from '../../test/federation.ts'
import { serviceClient } from '../../test/service-client.ts'
import type { Millis } from '../core/clock.ts'
import { TapestryError } from '../core/error.ts'
import { methodPath, type Service } from '../core/grpc-service.ts'
import type { NodeId } from '../core/ids.ts'
import { ArtifactService } from '../gen/proto/tapestry/v1/artifact_pb.ts'
import { EnrollmentService } from '../gen/proto/tapestry/v1/enrollment_pb.ts'
import { ModelService } from '../gen/proto/tapestry/v1/model_pb.ts'
import { RoundService } from '../gen/proto/tapestry/v1/round_pb.ts'
import { issueServerCertificate } from '../identity/certificate-authority.ts'
import type { NodeRow } from '../store/records.ts'
import { addService, clientStream, type RpcContext, rpcContext, serverStream, unary } from './adapter.ts'
import { type Access, METHOD_ACCESS, SERVICES } from './auth.ts'
import { createGrpcServer } from './grpc-server.ts'
import { addHealth } from './health.ts'
import { type Listener, listen } from './listener.ts'
import { addReflection } from './reflection.ts'

const log = pino({ level: 'silent' })
const NODE = testNodeId('a')
const SUSPENDED = testNodeId('b')
const UNKNOWN = testNodeId('c')

let federation: TestFederation
let stranger: TestFederation
const certificates: Record<string, ClientCertificate> = {}

beforeAll(async () => {
  federation = await testFederation()
  stranger = await testFederation()
  certificates['node'] = await federation.issue({ kind: 'node', node: NODE })
  certificates['operator'] = await federation.issue({ kind: 'operator', name: 'ana' })
  certificates['suspended'] = await federation.issue({ kind: 'node', node: SUSPENDED })
  certificates['unknown'] = await federation.issue({ kind: 'node', node: UNKNOWN })
  certificates['expired'] = await federation.issue({ kind: 'node', node: NODE }, Date.now() - 3_600_000, 60_000)
  certificates['foreign'] = await stranger.issue({ kind: 'node', node: NODE })
  certificates['server'] = { cert: federation.server.certificate, key: federation.server.key }
})

type Running = { readonly listener: Listener; readonly stop: AbortController }
const running: Running[] = []
const clients: Client[] = []

afterEach(async () => {
  for (const client of clients.splice(0)) client.close()
  for (const { listener, stop } of running.splice(0)) {
    stop.abort()
    await listener.close(0)
  }
})

type Setup = { readonly now?: () => Millis; readonly nodes?: Map<NodeId, NodeRow>; readonly reflection?: boolean }

async function start(add: (ctx: RpcContext, server: ReturnType<typeof createGrpcServer>) => void, setup: Setup = {}) {
  const nodes = setup.nodes ?? new Map([testNode(NODE), testNode(SUSPENDED, 'suspended')].map((row) => [row.id, row]))
  const stop = new AbortController()
  const grpc = createGrpcServer()
  const ctx = rpcContext(
    {
      federation: federation.id,
      clock: { now: setup.now ?? Date.now },
      log,
      store: { reader: { node: async (id) => nodes.get(id) } },
    },
    stop.signal,
  )
  add(ctx, grpc)
  const listener = await listen({
    host: '127.0.0.1',
    port: 0,
    certificate: federation.server,
    authority: federation.authority.certificate,
    grpc,
    http: (_request, response) => response.end('plain'),
    log,
  })
  running.push({ listener, stop })
  return listener
}

function connect(listener: Listener, who?: string): Client {
  const certificate = who === undefined ? undefined : certificates[who]
  const root = Buffer.from(federation.authority.certificate)
  const channel = certificate
    ? credentials.createSsl(root, Buffer.from(certificate.key), Buffer.from(certificate.cert))
    : credentials.createSsl(root)
  const client = new Client(`127.0.0.1:${listener.port}`, channel)
  clients.push(client)
  return client
}

/** Every method of a service, answering with an empty message. */
function stub(ctx: RpcContext, service: Service) {
  const bound = service.methods.map((method) => {
    if (method.methodKind === 'unary')
      return [method.localName, unary(ctx, { ...method, methodKind: 'unary' }, async () => ({}))]
    if (method.methodKind === 'client_streaming')
      return [method.localName, clientStream(ctx, { ...method, methodKind: 'client_streaming' }, async () => ({}))]
    return [
      method.localName,
      serverStream(ctx, { ...method, methodKind: 'server_streaming' }, async function* () {
        yield {}
      }),
    ]
  })
  return Object.fromEntries(bound)
}

/** The status of a call with an empty request, by path: what any client, not only ours, is told. */
function callByPath(client: Client, path: string): Promise<{ code: status; tapestry: unknown }> {
  return new Promise((resolve) => {
    const call = client.makeServerStreamRequest(
      path,
      (x: Buffer) => x,
      (x: Buffer) => x,
      Buffer.alloc(0),
    )
    call.on('data', () => undefined)
    call.on('error', () => undefined)
    call.on('status', ({ code, metadata }) => resolve({ code, tapestry: metadata.get('tapestry-code')[0] }))
  })
}

describe('access', () => {
  const allowed: Record<Access, readonly string[]> = {
    anyone: ['none', 'node', 'operator', 'suspended', 'unknown', 'expired', 'foreign', 'server'],
    node: ['node'],
    operator: ['operator'],
    'node-or-operator': ['node', 'operator'],
  }
  const refusal = (who: string) =>
    ['node', 'operator', 'suspended'].includes(who) ? 'PERMISSION_DENIED' : 'UNAUTHENTICATED'

  it('is decided for every method and every kind of caller', async () => {
    const listener = await start((ctx, { server }) => {
      for (const service of Object.values(SERVICES)) addService<Service>(server, service, stub(ctx, service))
    })
    for (const who of allowed.anyone) {
      const client = connect(listener, who === 'none' ? undefined : who)
      for (const [path, access] of Object.entries(METHOD_ACCESS)) {
        const answer = await callByPath(client, path)
        const expected = allowed[access].includes(who) ? undefined : refusal(who)
        expect([who, path, answer.tapestry]).toEqual([who, path, expected])
        expect(answer.code).toBe(expected === undefined ? status.OK : status[expected])
      }
    }
  })

  it('is open to those whom the protocol names, and to nobody else', () => {
    const methodsOf = (wanted: Access) =>
      Object.entries(METHOD_ACCESS)
        .filter(([, access]) => access === wanted)
        .map(([path]) => path.split('/')[2])
        .sort()
    expect(methodsOf('anyone')).toEqual([
      'ChangeKeys',
      'DownloadArtifact',
      'Enroll',
      'GetAttestation',
      'GetCheckpoint',
      'GetConsistencyProof',
      'GetFederation',
      'GetInclusionProof',
      'GetKeyChain',
      'GetLogCheckpoint',
      'GetPlan',
      'GetReceipt',
      'LeaveFederation',
      'ListChannels',
      'ListCheckpoints',
      'ListEntries',
      'ListRecords',
    ])
    expect(methodsOf('node')).toEqual([
      'AdviseRecords',
      'AnnounceArtifact',
      'DeclarePause',
      'DeclineRound',
      'JoinRound',
      'ListReviews',
      'RegisterRecord',
      'RenewCertificate',
      'SubmitContribution',
      'SubmitEvaluation',
      'SubmitReview',
      'UploadArtifact',
      'WithdrawRecord',
    ])
    expect(methodsOf('node-or-operator')).toEqual([
      'GetRound',
      'ListRevocations',
      'ListRounds',
      'RequestRevocation',
      'SummarizeContributions',
      'WatchRounds',
    ])
    expect(methodsOf('operator')).toEqual([
      'CreateInvitation',
      'CreateRun',
      'EjectNode',
      'GetOperators',
      'ListJobs',
      'ListNodes',
      'ListRuns',
      'OverrideRound',
      'ReinstateNode',
      'RetryJob',
      'SetOperators',
      'StartRound',
      'SuspendNode',
    ])
  })

  it('has a rule for exactly the methods that exist', () => {
    const paths = Object.values(SERVICES).flatMap((service: Service) => service.methods.map(methodPath))
    expect(Object.keys(METHOD_ACCESS).sort()).toEqual(paths.sort())
    for (const [name, service] of Object.entries(SERVICES)) expect(service.typeName).toBe(name)
    for (const method of Object.values(SERVICES).flatMap((service: Service) => service.methods)) {
      expect(method.input.typeName).toBe(`tapestry.v1.${method.name}Request`)
    }
  })

  it('is refused to methods without a rule before they can be served', () => {
    const { server } = createGrpcServer()
    const bare: Service = { ...ModelService, typeName: 'tapestry.v1.Elsewhere' }
    const methods = ModelService.methods.map((method) => ({
      ...method,
      parent: { ...method.parent, typeName: bare.typeName },
    }))
    const service: Service = { ...bare, methods }
    expect(() => addService<Service>(server, service, {})).toThrow(expect.objectContaining({ code: 'INTERNAL' }))
  })

  it('ends with a suspension, on the same connection', async () => {
    const nodes = new Map([[NODE, testNode(NODE)]])
    const listener = await start(
      (ctx, { server }) => addService<Service>(server, RoundService, stub(ctx, RoundService)),
      { nodes },
    )
    const rounds = serviceClient(RoundService, connect(listener, 'node'))
    await rounds.joinRound({})
    nodes.set(NODE, testNode(NODE, 'suspended'))
    await expect(rounds.joinRound({})).rejects.toMatchObject({ code: 'PERMISSION_DENIED' })
    nodes.set(NODE, testNode(NODE))
    await rounds.joinRound({})
  })

  it('ends with a change of keys, on the same connection, and comes back with the new certificate', async () => {
    const nodes = new Map([[NODE, testNode(NODE)]])
    const listener = await start(
      (ctx, { server }) => addService<Service>(server, RoundService, stub(ctx, RoundService)),
      { nodes },
    )
    const before = serviceClient(RoundService, connect(listener, 'node'))
    await before.joinRound({})
    nodes.set(NODE, { ...testNode(NODE), keyChanges: 1 })
    await expect(before.joinRound({})).rejects.toMatchObject({ code: 'UNAUTHENTICATED' })
    certificates['renewed'] = await federation.issue({ kind: 'node', node: NODE, keys: 1 })
    await serviceClient(RoundService, connect(listener, 'renewed')).joinRound({})
    await expect(before.joinRound({})).rejects.toMatchObject({ code: 'UNAUTHENTICATED' })
  })

  it('ends with the certificate, although the connection lives on', async () => {
    let now = Date.now()
    const listener = await start(
      (ctx, { server }) => addService<Service>(server, RoundService, stub(ctx, RoundService)),
      { now: () => now },
    )
    const rounds = serviceClient(RoundService, connect(listener, 'node'))
    await rounds.joinRound({})
    now += 25 * 3_600_000
    await expect(rounds.joinRound({})).rejects.toMatchObject({ code: 'UNAUTHENTICATED' })
  })

  it('is looked at again in long streams', async () => {
    let now = Date.now()
    const nodes = new Map([[NODE, testNode(NODE)]])
    const listener = await start(
      (ctx, { server }) =>
        addService(server, RoundService, {
          ...stub(ctx, RoundService),
          watchRounds: serverStream(ctx, RoundService.method.watchRounds, async function* () {
            yield { standing: 'first' }
            nodes.set(NODE, testNode(NODE, 'left'))
            yield { standing: 'second' }
            now += 61_000
            yield { standing: 'third' }
          }),
        } as Parameters<typeof addService<typeof RoundService>>[2]),
      { now: () => now, nodes },
    )
    const seen: string[] = []
    const watch = async () => {
      for await (const { standing } of serviceClient(RoundService, connect(listener, 'node')).watchRounds({}))
        seen.push(standing)
    }
    await expect(watch()).rejects.toMatchObject({ code: 'PERMISSION_DENIED' })
    expect(seen).toEqual(['first', 'second'])
  })
})

describe('calls', () => {
  const enrolment = (enroll: (request: { federation: string }) => Promise<object>) =>
    start((ctx, { server }) =>
      addService(server, EnrollmentService, {
        getFederation: unary(ctx, EnrollmentService.method.getFederation, async () => ({ record: Buffer.from('r') })),
        enroll: unary(ctx, EnrollmentService.method.enroll, async (request) => enroll(request)),
        renewCertificate: unary(ctx, EnrollmentService.method.renewCertificate, async (_, principal) => ({
          certificate: principal.node.id,
        })),
      }),
    )

  it('give the handler its caller', async () => {
    const listener = await enrolment(async () => ({}))
    const client = serviceClient(EnrollmentService, connect(listener, 'node'))
    expect((await client.renewCertificate({})).certificate).toBe(NODE)
    expect(Buffer.from((await client.getFederation({})).record).toString()).toBe('r')
  })

  it('carry code, message and hint of our errors', async () => {
    const listener = await enrolment(async ({ federation: text }) => {
      throw new TapestryError('INVITATION_USED', `used: ${text}`, { hint: '100 % größer' })
    })
    const client = serviceClient(EnrollmentService, connect(listener))
    await expect(client.enroll({ federation: 'né' })).rejects.toMatchObject({
      code: 'INVITATION_USED',
      message: 'used: né',
      hint: '100 % größer',
    })
  })

  it('hide what went wrong inside', async () => {
    const listener = await enrolment(async () => {
      throw new Error('password is hunter2')
    })
    const error = await serviceClient(EnrollmentService, connect(listener))
      .enroll({})
      .catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ code: 'INTERNAL', message: 'internal error' })
  })

  it('survive half a surrogate pair in a message', async () => {
    const listener = await enrolment(async () => {
      throw new TapestryError('INVALID_ARGUMENT', 'cut here: \ud83d', { hint: 'and \udc00 here' })
    })
    const client = serviceClient(EnrollmentService, connect(listener))
    await expect(client.enroll({})).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', hint: 'and \ufffd here' })
    await expect(client.getFederation({})).resolves.toBeDefined()
  })

  it('refuse noise and huge messages', async () => {
    const listener = await enrolment(async () => ({}))
    const client = connect(listener)
    const send = (bytes: Buffer) =>
      new Promise<status>((resolve) => {
        const same = (x: Buffer) => x
        const call = client.makeUnaryRequest(
          '/tapestry.v1.EnrollmentService/Enroll',
          same,
          same,
          bytes,
          new Metadata(),
          () => undefined,
        )
        call.on('status', ({ code }) => resolve(code))
      })
    expect(await send(Buffer.alloc(64, 0xff))).toBe(status.INVALID_ARGUMENT)
    expect(await send(Buffer.from([0x0a, 0x01, 0xff]))).toBe(status.INVALID_ARGUMENT)
    expect(await send(Buffer.alloc(5 * 2 ** 20))).toBe(status.RESOURCE_EXHAUSTED)
    expect(await send(Buffer.alloc(0))).toBe(status.OK)
  })
})

describe('streams', () => {
  it('pass both ways and tell the handler when the caller has gone', async () => {
    let aborted: (() => void) | undefined
    const gone = new Promise<void>((resolve) => {
      aborted = resolve
    })
    const listener = await start((ctx, { server }) =>
      addService(server, ArtifactService, {
        announceArtifact: unary(ctx, ArtifactService.method.announceArtifact, async () => ({})),
        uploadArtifact: clientStream(ctx, ArtifactService.method.uploadArtifact, async (requests) => {
          let offset = 0n
          for await (const request of requests) offset += BigInt(request.data.length)
          return { offset }
        }),
        downloadArtifact: serverStream(ctx, ArtifactService.method.downloadArtifact, async function* (_, __, signal) {
          signal.addEventListener('abort', () => aborted?.())
          for (let offset = 0n; !signal.aborted; offset++) yield { offset, data: Buffer.alloc(1000) }
        }),
      }),
    )
    const client = serviceClient(ArtifactService, connect(listener, 'node'))
    async function* chunks() {
      for (let i = 0; i < 20; i++) yield { data: Buffer.alloc(2 ** 20) }
    }
    expect((await client.uploadArtifact(chunks())).offset).toBe(20n * 2n ** 20n)
    let seen = 0
    for await (const { offset } of client.downloadArtifact({})) {
      seen = Number(offset)
      if (seen === 100) break
    }
    expect(seen).toBe(100)
    await gone
  })

  it('are limited for each peer', async () => {
    const listener = await start((ctx, { server }) =>
      addService(server, RoundService, {
        ...stub(ctx, RoundService),
        watchRounds: serverStream(ctx, RoundService.method.watchRounds, async function* (_, __, signal) {
          yield { standing: 'open' }
          await new Promise((resolve) => signal.addEventListener('abort', resolve))
        }),
      } as Parameters<typeof addService<typeof RoundService>>[2]),
    )
    const client = serviceClient(RoundService, connect(listener, 'node'))
    const open = Array.from({ length: 32 }, () => client.watchRounds({})[Symbol.asyncIterator]())
    for (const stream of open) expect((await stream.next()).value).toMatchObject({ standing: 'open' })
    const another = client.watchRounds({})[Symbol.asyncIterator]()
    await expect(another.next()).rejects.toMatchObject({ code: 'RESOURCE_EXHAUSTED' })
    const operator = serviceClient(RoundService, connect(listener, 'operator')).watchRounds({})[Symbol.asyncIterator]()
    expect((await operator.next()).value).toMatchObject({ standing: 'open' })
    running[0]?.stop.abort()
    for (const stream of [...open, operator]) await expect(stream.next()).rejects.toMatchObject({ code: 'UNAVAILABLE' })
  })
})

describe('listener', () => {
  const nothing = () => undefined

  it('serves HTTPS beside gRPC, with the same identity', async () => {
    const listener = await start(nothing)
    const body = await new Promise<string>((resolve, reject) => {
      const ca = federation.authority.certificate
      httpsRequest({ host: '127.0.0.1', port: listener.port, ca, agent: false }, (response) => {
        response.on('data', (data: Buffer) => resolve(data.toString()))
      })
        .on('error', reject)
        .end()
    })
    expect(body).toBe('plain')
  })

  it('says when its port is taken', async () => {
    const taken = createTcpServer()
    const port = await new Promise<number>((resolve) => {
      taken.listen(0, '127.0.0.1', () => {
        const address = taken.address()
        resolve(typeof address === 'object' && address ? address.port : 0)
      })
    })
    const options = {
      certificate: federation.server,
      authority: federation.authority.certificate,
      grpc: createGrpcServer(),
      http: nothing,
      log,
    }
    await expect(listen({ ...options, host: '127.0.0.1', port })).rejects.toMatchObject({ code: 'PORT_IN_USE' })
    await expect(listen({ ...options, host: '192.0.2.1', port: 0 })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    await new Promise((resolve) => taken.close(resolve))
  })

  it('shrugs off noise, cut handshakes and old TLS', async () => {
    const listener = await start(nothing)
    const noise = connectTcp(listener.port, '127.0.0.1')
    noise.on('error', nothing)
    noise.write('GET / HTTP/1.1\r\n\r\n')
    await new Promise((resolve) => noise.once('close', resolve))
    const silent = connectTcp(listener.port, '127.0.0.1')
    silent.on('error', nothing)
    await new Promise((resolve) => silent.once('connect', resolve))
    const old = connectTls({ port: listener.port, host: '127.0.0.1', rejectUnauthorized: false, maxVersion: 'TLSv1.2' })
    const refused = await new Promise((resolve) => {
      old.once('error', () => resolve(true))
      old.once('secureConnect', () => resolve(false))
    })
    expect(refused).toBe(true)
    const closed = new Promise((resolve) => silent.once('close', resolve))
    await running.pop()?.listener.close(0)
    await closed
  })

  it('takes a new certificate while it runs', async () => {
    const listener = await start(nothing)
    const presented = () =>
      new Promise<string>((resolve) => {
        const socket = connectTls(
          { port: listener.port, host: '127.0.0.1', ca: federation.authority.certificate },
          () => {
            resolve(socket.getPeerCertificate().serialNumber)
            socket.destroy()
          },
        )
      })
    const before = await presented()
    listener.replaceCertificate(await issueServerCertificate(federation.authority, ['127.0.0.1'], Date.now()))
    expect(await presented()).not.toBe(before)
  })

  it('says over gRPC whether it serves', async () => {
    let health: ReturnType<typeof addHealth> | undefined
    const listener = await start((_, { server }) => {
      health = addHealth(server, Object.keys(SERVICES))
    })
    const client = connect(listener)
    const check = () =>
      new Promise<number | undefined>((resolve, reject) => {
        const same = (x: Buffer) => x
        client.makeUnaryRequest('/grpc.health.v1.Health/Check', same, same, Buffer.alloc(0), (error, answer) => {
          if (error) reject(error)
          else resolve(answer?.[1])
        })
      })
    expect(await check()).toBe(2)
    health?.setServing(true)
    expect(await check()).toBe(1)
  })

  it('serves reflection only when asked to', async () => {
    const path = '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo'
    const closed = await start(nothing)
    expect((await callByPath(connect(closed), path)).code).toBe(status.UNIMPLEMENTED)
    const open = await start((_, { server }) => addReflection(server, Object.values(SERVICES)))
    const names = await new Promise<string>((resolve) => {
      const same = (x: Buffer) => x
      const call = connect(open).makeBidiStreamRequest(path, same, same)
      call.on('data', (data: Buffer) => resolve(data.toString('latin1')))
      // list_services, field 7, of ServerReflectionRequest.
      call.write(Buffer.from([0x3a, 0x01, 0x2a]))
      call.end()
    })
    for (const name of Object.keys(SERVICES)) expect(names).toContain(name)
  })
})

afterAll(() => {
  expect(running).toEqual([])
})
