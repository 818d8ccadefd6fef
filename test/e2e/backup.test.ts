import { cp, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { backUp } from '../../src/cli/backup.ts'
import type { BackupManifest } from '../../src/cli/backup-manifest.ts'
import { initCoordinator } from '../../src/cli/coordinator-directory.ts'
import { createProgram } from '../../src/cli/program.ts'
import { restore } from '../../src/cli/restore.ts'
import { RoundPhase } from '../../src/gen/proto/tapestry/v1/round_pb.ts'
import { blobPath } from '../../src/store/blob-copy.ts'
import { readExport } from '../ledger-reader.ts'
import { TestNetwork } from '../network.ts'
import { type TestDatabase, testDatabase } from '../postgres.ts'
import { documentBytes } from './payload.ts'
import type { Place } from './test-node.ts'

let network: TestNetwork
/** What the backup is restored into. */
let database: TestDatabase
let home: string
let made: BackupManifest
let second: Place

const at = (name: string) => join(home, name)

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'tapestry-backup-'))
  network = await TestNetwork.create({ participants: 2 })
  database = await testDatabase()
  await decide(await contribute(await network.startRound(), 2))
  second = await contribute(await network.startRound(), 1)
  made = await whileInviting(() => backup(at('backup')))
})

afterAll(async () => {
  await network?.close()
  await database?.drop()
  await rm(home, { recursive: true, force: true })
})

/** Everybody joins, and the first few hand in. */
async function contribute(place: Place, count: number): Promise<Place> {
  for (const node of network.nodes) await node.join(place.key)
  for (const node of network.nodes.slice(0, count)) await node.contribute(place, network.tensors)
  return place
}

/** The nodes find the candidate better than its base. */
async function decide(place: Place): Promise<void> {
  const { round } = await network.roundIn(place.key, RoundPhase.EVALUATING)
  for (const node of network.nodes) {
    const score = (mean: number) => ({ mean, standardError: 0.001, tokens: 100 })
    const languages = [{ language: node.language, community: '', base: score(3), candidate: score(2) }]
    await node.report(documentBytes({ ...node.review(place, round?.candidateDigest ?? ''), languages }))
  }
  expect((await network.roundEnded(place.key)).round?.phase).toBe(RoundPhase.PUBLISHED)
}

/** Work that goes on while members are written, one after the other. */
async function whileInviting<T>(work: () => Promise<T>): Promise<T> {
  let going = true
  const inviting = (async () => {
    for (let i = 0; going; i++) await network.invite(`busy-${i}`)
  })()
  return work().finally(async () => {
    going = false
    await inviting
  })
}

function backup(to: string, withKeys = true): Promise<BackupManifest> {
  const env = { DATABASE_URL: network.parts.databaseUrl }
  return backUp({ dir: network.directory, to, withKeys, apart: false, env, now: network.clock.now() })
}

function restored(
  from: string,
  options: { readonly dir?: string; readonly url?: string; readonly keys?: string } = {},
) {
  const env = { DATABASE_URL: options.url ?? database.url }
  return restore({ from, dir: options.dir ?? at('never'), env, keys: options.keys })
}

/** A copy of the backup, to be spoilt. */
async function copyOf(name: string): Promise<string> {
  await cp(at('backup'), at(name), { recursive: true })
  return at(name)
}

describe('a backup', () => {
  test('is written beside a coordinator at work, keys only when asked and for their owner alone', async () => {
    expect(made.database.tables.find(({ table }) => table === 'contribution')?.rows).toBe(3)
    expect(made.blobs.length).toBeGreaterThan(3)
    for (const { name } of made.keys) expect((await stat(join(at('backup'), 'keys', name))).mode & 0o777).toBe(0o600)
    await backup(at('keyless'), false)
    expect(await readdir(at('keyless'))).not.toContain('keys')
  })

  test('goes on after an interruption, and is never written over', async () => {
    const [blob] = made.blobs
    const cut = await copyOf('cut')
    await rm(join(cut, 'backup.json'))
    await rm(blobPath(join(cut, 'blobs'), blob!.digest))
    expect((await backup(cut)).blobs).toEqual(made.blobs)
    await expect(backup(cut)).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
  })
})

describe('a restore refuses', () => {
  test('a backup of which a bit differs or a file is missing, before it writes anything', async () => {
    const [blob, other] = made.blobs
    const shorter = await copyOf('shorter')
    const path = blobPath(join(shorter, 'blobs'), blob!.digest)
    await rm(path)
    await writeFile(path, 'other bytes')
    const lacking = await copyOf('lacking')
    await rm(blobPath(join(lacking, 'blobs'), other!.digest))
    const rows = await copyOf('rows')
    await truncate(join(rows, 'database', 'contribution.jsonl'), 10)
    for (const spoilt of [shorter, lacking, rows]) {
      await expect(restored(spoilt), spoilt).rejects.toMatchObject({ code: 'VERIFICATION_FAILED' })
    }
    await expect(stat(at('never'))).rejects.toMatchObject({ code: 'ENOENT' })
  })

  test('an unfinished one, one of another format, and one that names files outside', async () => {
    await expect(restored(at('nothing'))).rejects.toMatchObject({ code: 'NOT_FOUND' })
    const spoilt = await copyOf('spoilt')
    const text = await readFile(join(spoilt, 'backup.json'), 'utf8')
    await writeFile(join(spoilt, 'backup.json'), text.replace('tapestry-backup/1', 'tapestry-backup/2'))
    await expect(restored(spoilt)).rejects.toMatchObject({ code: 'DATA_VERSION' })
    await writeFile(join(spoilt, 'backup.json'), text.replace('"federation.json"', '"../federation.json"'))
    await expect(restored(spoilt)).rejects.toMatchObject({ code: 'DATA_INVALID' })
  })

  test("to go without keys, or with another federation's", async () => {
    await expect(restored(at('keyless'))).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    await initCoordinator({ dir: at('other'), name: 'Other', settings: {}, now: network.clock.now() })
    const keys = join(at('other'), 'keys')
    await expect(restored(at('keyless'), { keys })).rejects.toMatchObject({ code: 'WRONG_FEDERATION' })
  })

  test('a directory or a database that is not empty', async () => {
    const occupied = restored(at('backup'), { dir: at('other') })
    await expect(occupied).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
    const own = restored(at('backup'), { dir: at('empty'), url: network.parts.databaseUrl })
    await expect(own).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
  })
})

describe('a restored federation', () => {
  test('goes on where the backup was: the round in hand is finished, and the log grows out of its past', async () => {
    const before = await exportLog('before')
    await restored(at('keyless'), { dir: at('restored'), keys: join(network.directory, 'keys') })
    await network.moveTo(at('restored'), database.url)
    await network.nodes[1]?.contribute(second, network.tensors)
    await decide(second)
    const after = await exportLog('after')
    expect(after.entries.slice(0, before.size)).toEqual(before.entries)
    expect(after.size).toBeGreaterThan(before.size)
  })
})

/** The log as files, proved by a reader that shares no code with the product. */
async function exportLog(name: string) {
  const words = ['log', 'export', at(name), '--from', network.address, '--trust', network.federation]
  const sink = { write: () => true }
  const io = {
    stdout: sink,
    stderr: sink,
    env: { HOME: home },
    clock: network.clock,
    stopSignal: () => AbortSignal.abort(),
  }
  await (await createProgram(words, io)).parseAsync(words, { from: 'user' })
  return readExport(at(name), network.federation)
}
