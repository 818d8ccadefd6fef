import type { Digest } from '../src/core/digest.ts'
import { digestOf } from '../src/core/digest.ts'
import {
  ensureChannelName,
  ensureMemberId,
  ensureNodeId,
  ensureRunId,
  type NodeId,
  type RoundKey,
} from '../src/core/ids.ts'
import { ensureLanguageTag } from '../src/core/language-tag.ts'
import { DEFAULT_RUN_POLICY } from '../src/round/policy.ts'
import { openRound } from '../src/round/round.ts'
import type { CheckpointRow } from '../src/store/checkpoint-row.ts'
import { migrate } from '../src/store/migrate.ts'
import { openStore } from '../src/store/prisma-store.ts'
import type { ContributionRow, LanguageReportRow, RunRow } from '../src/store/records.ts'
import type { Store } from '../src/store/store.ts'
import { testDatabase } from './postgres.ts'

/** Rows with every field filled in, for tests that care about one or two of them. */

export const NOW = Date.UTC(2026, 10, 23)
export const RUN = ensureRunId('first-run')
export const MEMBER = ensureMemberId('first-member')
export const CHANNEL = ensureChannelName('global')
export const ROUND: RoundKey = { run: RUN, number: 1 }
export const POLICY = { ...DEFAULT_RUN_POLICY, target: 3, quorum: 2 }

/** A migrated store on a database of its own. */
export async function testStore(): Promise<{ store: Store; url: string; close(): Promise<void> }> {
  const database = await testDatabase()
  await migrate(database.url)
  const store = await openStore({ url: database.url })
  const close = async () => {
    await store.close()
    await database.drop()
  }
  return { store, url: database.url, close }
}

export function nodeId(index: number): NodeId {
  return ensureNodeId(`node-${index.toString(16).padStart(32, '0')}`)
}

export function digest(text: string): Digest {
  return digestOf(text)
}

export function runRow(change: Partial<RunRow> = {}): RunRow {
  return {
    id: RUN,
    plan: '{"plan":1}',
    planDigest: digest('plan'),
    policy: POLICY,
    channel: CHANNEL,
    head: digest('base'),
    roundsStarted: 0,
    uncounted: 0,
    createdAt: NOW,
    ...change,
  }
}

/** Adds a member with `nodes` nodes, a run, and its first round, open. */
export async function seed(store: Store, nodes: number): Promise<void> {
  await store.transact('seed', async (tx) => {
    await tx.ensureMember(MEMBER, NOW)
    for (let index = 0; index < nodes; index++) {
      const id = nodeId(index)
      const key = { genesis: '{}', publicKey: 'PEM' }
      await tx.createNode({ id, member: MEMBER, name: `n${index}`, enrolledAt: NOW, ...key })
    }
    await tx.createRun(runRow())
    await tx.createRound(ROUND, openRound(digest('base'), digest('plan'), POLICY, NOW), NOW)
  })
}

export function languageReport(change: Partial<LanguageReportRow> = {}): LanguageReportRow {
  const score = { standardError: 0.01, tokens: 100 }
  return {
    language: ensureLanguageTag('sw'),
    community: '',
    tokens: 1000,
    documents: 10,
    before: { ...score, mean: 3 },
    after: { ...score, mean: 2 },
    ...change,
  }
}

export function contributionRow(node: NodeId, change: Partial<ContributionRow> = {}): ContributionRow {
  return {
    id: digest(`manifest of ${node}`),
    key: ROUND,
    node,
    manifest: '{"node":1}',
    signature: { keyId: 'ab'.repeat(32), value: 'c2ln' },
    nonce: '00ff',
    payload: digest(`payload of ${node}`),
    bytes: 3_000_000_000,
    norm: 0.1 + 0.2,
    weight: null,
    languages: [languageReport()],
    records: [],
    acceptedAt: NOW,
    ...change,
  }
}

export function checkpointRow(version: number, change: Partial<CheckpointRow> = {}): CheckpointRow {
  return {
    digest: digest(`checkpoint ${version}`),
    run: RUN,
    version,
    round: version,
    parent: version === 0 ? null : digest(`checkpoint ${version - 1}`),
    manifest: `{"version":${version}}`,
    signature: { keyId: 'cd'.repeat(32), value: 'c2ln' },
    files: [{ path: 'model.safetensors', digest: digest(`weights ${version}`), size: 5_000_000_000 }],
    createdAt: NOW + version,
    ...change,
  }
}
