import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { FakeCoordinator } from '../../test/fake-coordinator.ts'
import { FakeRounds } from '../../test/fake-rounds.ts'
import { systemClock } from '../core/clock.ts'
import { digestOf, hexOf } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import { ensureLanguageTag } from '../core/language-tag.ts'
import { EnrollmentService } from '../gen/proto/tapestry/v1/enrollment_pb.ts'
import { RoundPhase } from '../gen/proto/tapestry/v1/round_pb.ts'
import { issueClientCertificate } from '../identity/certificate-authority.ts'
import { nodeIdOf } from '../identity/genesis.ts'
import { createInvitation } from '../identity/invitation.ts'
import { publicKeyOf } from '../identity/key-file.ts'
import { planBytes } from '../plan/plan.ts'
import { type NodeClient, openNodeClient } from './client.ts'
import { joinFederation } from './enrolment.ts'
import { type RunNodeOptions, runNode } from './loop.ts'
import { createNodeDirectory, type NodeDirectory } from './node-directory.ts'
import type { NodeEvent } from './node-event.ts'
import type { Trainer } from './trainer.ts'

const withCode = (code: string) => expect.objectContaining({ code })
const language = { language: ensureLanguageTag('sw'), community: 'Lamu' }
const score = (mean: number) => ({ mean, standardError: 0.1, tokens: 100 })
const backoff = { baseMs: 1, capMs: 1, random: () => 0 }

let fake: FakeCoordinator
let rounds: FakeRounds
let parent: string
let directory: NodeDirectory
let client: NodeClient
let events: NodeEvent[]
let stop: AbortController
/** What the trainer was asked: `train`, `score candidate`. */
let work: string[]
let trainer: Trainer

beforeEach(async () => {
  fake = await FakeCoordinator.create()
  rounds = new FakeRounds(fake)
  fake.unary(EnrollmentService, {
    enroll: async ({ genesis, certificateRequest }) => {
      const node = nodeIdOf(genesis)
      const certificate = await issueClientCertificate(
        fake.authority,
        certificateRequest,
        { kind: 'node', node },
        Date.now(),
      )
      return { node, member: 'archive', certificate }
    },
  })
  await fake.listen()
  parent = await mkdtemp(join(tmpdir(), 'tapestry-loop-'))
  directory = await createNodeDirectory(join(parent, 'node'), { name: 'Lamu Archive', sources: [] })
  await joinFederation(directory, createInvitation(Buffer.alloc(32, 7), fake.address, fake.federation), systemClock)
  rounds.nodeKey = publicKeyOf((await directory.readKey('node.key')) ?? '')
  client = await openNodeClient(directory, systemClock)
  events = []
  stop = new AbortController()
  work = []
  trainer = {
    async train({ seed, outDelta }, _, onProgress) {
      work.push('train')
      onProgress({ step: 1, steps: 1, loss: 2, tokensPerSecond: 1000 })
      await writeFile(outDelta, `delta ${seed}`)
      const report = { ...language, tokens: 1000, documents: 10, before: score(3), after: score(2) }
      return { languages: [report], records: [], excluded: { files: 0, documents: 0 }, steps: 1, wallMs: 5 }
    },
    async score({ weights }) {
      work.push(`score ${weights.map(({ name }) => name)}`)
      return weights.map(({ name }) => ({ name, languages: [{ ...language, ...score(1.5) }] }))
    },
  }
})

afterEach(async () => {
  stop.abort()
  client.close()
  await fake.close()
  await rm(parent, { recursive: true })
})

function run(changes: Partial<RunNodeOptions> = {}) {
  const onEvent = (event: NodeEvent) => events.push(event)
  return runNode({ directory, client, trainer, clock: systemClock, signal: stop.signal, backoff, onEvent, ...changes })
}

const typesOf = () => events.map(({ type }) => type)

/** Stops the node when it has told of something for the nth time. */
function stopAt(type: NodeEvent['type'], times = 1): Pick<RunNodeOptions, 'onEvent'> {
  let left = times
  return {
    onEvent(event) {
      events.push(event)
      if (event.type === type && --left === 0) stop.abort()
    },
  }
}

/** A fresh process: another client, another signal. */
async function restart(): Promise<void> {
  client.close()
  client = await openNodeClient(directory, systemClock)
  stop = new AbortController()
}

describe('a node', () => {
  it('takes part in round after round until the run ends', async () => {
    rounds.rounds = 3
    rounds.current.last = false
    expect(await run()).toEqual({ finished: 3, because: 'last' })
    expect(rounds.calls).toEqual(
      [1, 2, 3].flatMap((number) => [`join ${number}`, `submit ${number}`, `evaluate ${number}`]),
    )
    expect(typesOf().filter((type) => type === 'published')).toHaveLength(3)
    expect(rounds.contributions.map(({ payloadDigest }) => payloadDigest)).toHaveLength(3)
    expect(new Set(rounds.contributions.map(({ payloadDigest }) => payloadDigest)).size).toBe(3)
    expect(rounds.evaluations[0]?.languages).toEqual([{ ...language, base: score(3), candidate: score(1.5) }])
  })

  it('fetches a candidate once, though it becomes the next base, and tidies up', async () => {
    rounds.rounds = 4
    rounds.current.last = false
    await run()
    expect(fake.log.filter((entry) => entry.startsWith('GET'))).toHaveLength(5)
    const newest = digestOf('candidate 4')
    expect(await readdir(directory.cachePath)).toEqual([hexOf(newest)])
    expect((await readdir(join(directory.roundsPath, 'demo'))).sort()).toEqual(['3', '4'])
  })

  it('ends after as many rounds as asked for', async () => {
    rounds.rounds = 10
    rounds.current.last = false
    expect(await run({ rounds: 2 })).toEqual({ finished: 2, because: 'rounds' })
  })

  it('works alone in its directory', async () => {
    rounds.automatic = false
    const first = run(stopAt('joined'))
    await expect(run()).rejects.toEqual(withCode('FAILED_PRECONDITION'))
    expect(await first).toEqual({ finished: 0, because: 'stopped' })
  })

  it('waits in a round that began without it', async () => {
    rounds.current.phase = RoundPhase.COLLECTING
    const watching = run(stopAt('round', 2))
    await untilEvent('round')
    rounds.move({ phase: RoundPhase.FAILED, reason: 'nobody came' })
    expect(await watching).toEqual({ finished: 0, because: 'stopped' })
    expect(rounds.calls).toEqual([])
  })
})

async function untilEvent(type: NodeEvent['type']): Promise<void> {
  while (!typesOf().includes(type)) await new Promise((resolve) => setImmediate(resolve))
}

describe('a node that is killed', () => {
  it.each<NodeEvent['type']>(['joined', 'training', 'trained', 'uploading', 'uploaded', 'accepted', 'evaluated'])(
    'after it had %s goes on with one contribution',
    async (type) => {
      await run(stopAt(type))
      await restart()
      expect(await run({ rounds: 1 })).toMatchObject({ finished: 1 })
      expect(rounds.contributions).toHaveLength(1)
      expect(rounds.evaluations).toHaveLength(1)
      expect(work.filter((task) => task === 'train')).toHaveLength(type === 'training' ? 2 : 1)
    },
  )

  it('sends the very same contribution again when the answer was lost', async () => {
    rounds.afterCall = (call) => {
      if (call !== 'submit 1' || rounds.calls.length > 2) return
      stop.abort()
      fake.cutAll()
    }
    rounds.automatic = false
    const first = run()
    await untilEvent('joined')
    rounds.move({ phase: RoundPhase.COLLECTING, standing: 'joined' })
    await first
    await restart()
    rounds.current.standing = 'joined'
    await run(stopAt('accepted'))
    expect(rounds.contributions.map(({ nonce }) => nonce)).toHaveLength(2)
    expect(new Set(rounds.contributions.map(({ nonce }) => nonce)).size).toBe(1)
  })

  it('trains again when the delta was damaged meanwhile', async () => {
    await run(stopAt('trained'))
    await writeFile(join(directory.roundsPath, 'demo/1/delta.safetensors'), 'damaged')
    await restart()
    await run({ rounds: 1 })
    expect(work.filter((task) => task === 'train')).toHaveLength(2)
    expect(rounds.contributions).toHaveLength(1)
  })

  it('tells the end of a round that ended meanwhile, once', async () => {
    await run(stopAt('evaluated'))
    await restart()
    await run({ rounds: 1 })
    expect(typesOf().filter((type) => type === 'published')).toHaveLength(1)
    await restart()
    const again = run({ ...stopAt('round') })
    events.length = 0
    await again
    expect(typesOf()).not.toContain('published')
  })
})

describe('a node without its coordinator', () => {
  it('keeps trying and goes on', async () => {
    let down = true
    rounds.afterCall = () => down && fake.cutAll()
    const running = run({
      rounds: 1,
      onEvent(event) {
        events.push(event)
        if (event.type === 'disconnected') down = false
      },
    })
    expect(await running).toEqual({ finished: 1, because: 'rounds' })
    expect(typesOf()).toContain('disconnected')
    expect(typesOf().filter((type) => type === 'connected').length).toBeGreaterThan(1)
  })

  it('is patient with a coordinator whose disk is full, but not for ever', async () => {
    let full = 3
    rounds.afterCall = (call) => {
      if (call.startsWith('submit') && full-- > 0) throw new TapestryError('DISK_FULL', 'no room')
    }
    rounds.rounds = 2
    rounds.current.last = false
    expect(await run({ rounds: 1 })).toMatchObject({ finished: 1 })
    expect(typesOf().filter((type) => type === 'retrying')).toHaveLength(3)
    full = Number.POSITIVE_INFINITY
    await restart()
    await run(stopAt('set-aside'))
    expect(events.at(-1)).toMatchObject({ type: 'set-aside', error: { code: 'RESOURCE_EXHAUSTED' } })
  })

  it('learns of a round that ended while it was cut off', async () => {
    rounds.automatic = false
    const running = run({ rounds: 1 })
    await untilEvent('joined')
    rounds.current = { ...rounds.current, phase: RoundPhase.FAILED, reason: 'too few', standing: 'joined' }
    fake.cutAll()
    expect(await running).toEqual({ finished: 1, because: 'rounds' })
    expect(events.at(-1)).toMatchObject({ type: 'failed', reason: 'too few' })
  })
})

describe('a refusal', () => {
  it('is told once and not argued with, also after a restart', async () => {
    rounds.refuse = { reason: 'NON_FINITE', detail: 'a NaN\u001b[31m in q_proj' }
    await run(stopAt('refused'))
    expect(events.find(({ type }) => type === 'refused')).toMatchObject({
      reason: 'NON_FINITE',
      detail: 'a NaN [31m in q_proj',
    })
    await restart()
    events.length = 0
    rounds.refuse = undefined
    const running = run()
    await untilEvent('round')
    rounds.move({ phase: RoundPhase.FAILED, reason: 'no quorum' })
    expect(await running).toMatchObject({ finished: 1 })
    expect(rounds.calls).toEqual(['join 1', 'submit 1'])
  })

  it('of a lost upload is answered by another upload', async () => {
    rounds.afterCall = (call) => {
      if (call === 'submit 1' && rounds.calls.length === 2) fake.blobs.delete([...fake.blobs.keys()].at(-1) ?? '')
    }
    expect(await run()).toMatchObject({ finished: 1 })
    expect(rounds.calls).toEqual(['join 1', 'submit 1', 'submit 1', 'evaluate 1'])
  })
})

describe('training', () => {
  it('stops when the round has closed', async () => {
    rounds.automatic = false
    trainer = {
      ...trainer,
      train: (_, signal) =>
        new Promise((_resolve, reject) => {
          rounds.move({ phase: RoundPhase.FAILED, reason: 'the deadline passed' })
          signal.addEventListener('abort', () => reject(new TapestryError('ENGINE_FAILED', 'cancelled')))
        }),
    }
    const running = run()
    await untilEvent('joined')
    rounds.move({ phase: RoundPhase.COLLECTING, standing: 'joined' })
    expect(await running).toEqual({ finished: 1, because: 'last' })
    expect(typesOf()).toContain('too-late')
    expect(rounds.calls).toEqual(['join 1'])
  })

  it('that fails leaves the round to the others and takes part in the next', async () => {
    rounds.rounds = 2
    rounds.current.last = false
    const train = trainer.train
    let failures = 0
    trainer = {
      ...trainer,
      train: (...task) =>
        failures++ === 0 ? Promise.reject(new TapestryError('ENGINE_FAILED', 'diverged')) : train(...task),
    }
    const running = run()
    await untilEvent('set-aside')
    rounds.move({ phase: RoundPhase.FAILED, reason: 'no quorum' })
    rounds.next()
    expect(await running).toEqual({ finished: 2, because: 'last' })
    expect(rounds.contributions.map(({ round }) => round)).toEqual([2])
  })

  it('that cannot read its text ends the node', async () => {
    trainer = { ...trainer, train: () => Promise.reject(new TapestryError('DATA_INVALID', 'sw.txt is gone')) }
    await expect(run()).rejects.toEqual(withCode('DATA_INVALID'))
  })
})

describe('a hostile coordinator', () => {
  it('gets no promise for a plan that does not verify', async () => {
    const forged = { ...rounds.plan, graphs: { ...rounds.plan.graphs, train: digestOf('another graph') } }
    rounds.releases.plans.set(rounds.planDigest, planBytes(forged))
    await run(stopAt('set-aside'))
    expect(events.at(-1)).toMatchObject({ type: 'set-aside', action: 'join', error: { code: 'VERIFICATION_FAILED' } })
    expect(rounds.calls).toEqual([])
  })

  it.each<[string, () => void]>([
    ['is too large for the plan', () => publishBase({ 'model.safetensors': Buffer.alloc(2_000_000) })],
    ['holds no weights', () => publishBase({ 'weights.bin': Buffer.from('x') })],
    [
      'is not what was signed',
      () => {
        fake.faults.tamper = (bytes) => Buffer.concat([bytes, bytes])
      },
    ],
    [
      'nobody signed',
      () => {
        rounds.releases.signingKey = fake.authority.key
        publishBase({ 'model.safetensors': Buffer.from('other') })
      },
    ],
  ])('trains nobody from a base that %s', async (_, tamper) => {
    tamper()
    await run(stopAt('set-aside'))
    expect(events.at(-1)).toMatchObject({ action: 'contribute', error: { code: 'VERIFICATION_FAILED' } })
    expect(work).toEqual([])
  })

  it('has no candidate of absurd size scored', async () => {
    rounds.automatic = false
    const running = run(stopAt('set-aside'))
    await untilEvent('joined')
    rounds.move({ phase: RoundPhase.COLLECTING, standing: 'joined' })
    await untilEvent('accepted')
    rounds.move({ phase: RoundPhase.EVALUATING, candidate: fake.put(Buffer.alloc(2_000_000)), standing: 'accepted' })
    await running
    expect(events.at(-1)).toMatchObject({ action: 'evaluate', error: { code: 'VERIFICATION_FAILED' } })
    expect(work).toEqual(['train'])
  })

  it('is not understood when it talks nonsense, and is listened to again when it stops', async () => {
    rounds.current.phase = RoundPhase.COLLECTING
    const running = run({ rounds: 1 })
    await untilEvent('round')
    rounds.sendNonsense()
    await untilEvent('ignored')
    rounds.rounds = 2
    rounds.next()
    expect(await running).toMatchObject({ finished: 1 })
  })
})

function publishBase(files: Record<string, Uint8Array>): void {
  rounds.current.base = rounds.releases.publish(99, files)
}
