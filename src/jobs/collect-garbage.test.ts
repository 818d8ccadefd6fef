import { mkdtemp, readdir, rename, rm, utimes } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { enrol, sealedRound, TEST_POLICY, testCoordinator, testRun } from '../../test/rounds.ts'
import { type Digest, hexOf } from '../core/digest.ts'
import { openBlobs } from '../store/blobs.ts'
import { collectGarbage } from './collect-garbage.ts'

/** Ages after what is made old, and long before what was made just now. */
const NOW = 1_000_000_000
const GRACE_MS = 1000

let root: string
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'tapestry-garbage-'))
})
afterAll(() => rm(root, { recursive: true, force: true }))

const pathOf = (directory: string, digest: Digest) =>
  join(directory, 'sha256', hexOf(digest).slice(0, 2), hexOf(digest))

async function age(directory: string, digest: Digest): Promise<void> {
  await utimes(pathOf(directory, digest), new Date(0), new Date(0))
}

/** Says when it is done that the blob is held, as a submission does: renewed first, referred to in a transaction after it. */
type Submission = { readonly digest: Digest; readonly again: () => Promise<unknown> }

it('never deletes what is referred to, whatever is being stored and referred to meanwhile', async () => {
  let serial = 0
  const blob = fc.record({ old: fc.boolean(), held: fc.boolean(), submitted: fc.boolean() })
  const property = fc.asyncProperty(fc.scheduler(), fc.array(blob, { maxLength: 6 }), async (schedule, wanted) => {
    const directory = join(root, `${++serial}`)
    const blobs = await openBlobs(directory)
    const held = new Set<Digest>()
    const submissions: Submission[] = []
    const garbage: Digest[] = []
    for (const [i, { old, held: isHeld, submitted }] of wanted.entries()) {
      const bytes = Buffer.from(`blob ${i}`)
      const { digest } = await blobs.put(bytes)
      if (old) await age(directory, digest)
      if (isHeld) held.add(digest)
      if (submitted) submissions.push({ digest, again: () => blobs.put(bytes) })
      if (old && !isHeld && !submitted) garbage.push(digest)
    }
    const turn = (name: string) => schedule.schedule(Promise.resolve(), name)
    let begin = () => {}
    const asked = new Promise<void>((resolve) => {
      begin = resolve
    })
    const submit = async ({ digest, again }: Submission) => {
      await asked
      await turn('renew')
      if ((await blobs.renew(digest)) === undefined) await again()
      await turn('refer')
      held.add(digest)
    }
    const reader = {
      blobHolders: async (digests: readonly Digest[]) => {
        begin()
        await turn('holders')
        const found = digests.filter((digest) => held.has(digest))
        return found.map((digest) => ({ digest, kind: 'upload' as const, holder: 'x', takenBack: false }))
      },
    }
    const removeOld = async (digest: Digest, before: number) => {
      await turn('remove')
      return blobs.removeOld(digest, before)
    }
    const context = {
      store: { reader },
      blobs: { old: blobs.old.bind(blobs), removeOld },
      clock: { now: () => NOW },
    }
    const collecting = collectGarbage(context, { graceMs: GRACE_MS }).finally(begin)
    const all = [collecting, ...submissions.map(submit)]
    await schedule.waitFor(Promise.all(all))
    for (const digest of held) expect(await blobs.has(digest)).toBe(true)
    for (const digest of garbage) expect(await blobs.has(digest)).toBe(false)
  })
  await fc.assert(property, { numRuns: 60 })
})

it('brings back what a process was about to delete when it ended', async () => {
  const directory = join(root, 'condemned')
  const blobs = await openBlobs(directory)
  const { digest } = await blobs.put(Buffer.from('a reprieve'))
  await rename(pathOf(directory, digest), join(directory, 'condemned', hexOf(digest)))
  expect(await (await openBlobs(directory)).has(digest)).toBe(true)
  expect(await readdir(join(directory, 'condemned'))).toEqual([])
})

it('keeps every blob of a federation at work, and a dry run deletes nothing', async () => {
  const coordinator = await testCoordinator()
  try {
    const { context, clock, blobDirectory } = coordinator
    await enrol(coordinator, 3)
    await sealedRound(coordinator, await testRun(coordinator, 'kept', TEST_POLICY), [1, 2, 3])
    const stray = await context.blobs.put(Buffer.from('nobody refers to this'))
    const all: Digest[] = []
    for await (const { digest } of context.blobs.old(Number.POSITIVE_INFINITY)) all.push(digest)
    for (const digest of all) await age(blobDirectory, digest)
    clock.advance(GRACE_MS)
    const found = { blobs: 1, bytes: stray.size }
    expect(await collectGarbage(context, { dryRun: true })).toEqual({ found, deleted: { blobs: 0, bytes: 0 } })
    expect(await collectGarbage(context)).toEqual({ found, deleted: found })
    expect(await context.blobs.has(stray.digest)).toBe(false)
    for (const digest of all.filter((one) => one !== stray.digest)) expect(await context.blobs.has(digest)).toBe(true)
  } finally {
    await coordinator.close()
  }
})
