import { z } from 'zod'
import { codecText, F32 } from '../../core/codec.ts'
import { digestOf } from '../../core/digest.ts'
import { strategyText } from '../../core/strategy.ts'
import { type Manifest, mergesOf, type ReleasedFile } from '../../model/manifest.ts'
import { fetchAttestations } from '../../participant/attestations.ts'
import { openPublicClient } from '../../participant/public-client.ts'
import { fetchRelease } from '../../participant/release.ts'
import { defineCommand } from '../command.ts'
import { changeText } from '../round-view.ts'
import { formatBytes, printable, table } from '../terminal.ts'
import { STRANGER_INPUT, STRANGER_OPTIONS, strangerTrust } from '../trust-input.ts'

export const modelsShow = defineCommand({
  path: 'models show',
  summary: "show a checkpoint's signed manifest: where it comes from, how good it is, what is in it",
  arguments: [{ name: '[ref]', description: 'a channel, run@version, or sha256:<manifest digest> (global)' }],
  options: STRANGER_OPTIONS(),
  input: z.object({ ...STRANGER_INPUT, ref: z.string().default('global') }),
  async run({ from, ref, ...trust }, { env }) {
    const client = await openPublicClient(from, strangerTrust(trust, env))
    try {
      const release = await fetchRelease(client, ref, client.federation.record)
      const { digest, manifest, superseded } = release
      const files = await fetchAttestations(client, release, client.federation.record)
      const attestations = files.map(({ path, bytes }) => ({ path, size: bytes.length, digest: digestOf(bytes) }))
      const warning = superseded ? 'SUPERSEDED: a revocation took it back' : ''
      const parts = [warning, manifestText(digest, manifest), attestationsTable(attestations)]
      const text = parts.filter((part) => part !== '').join('\n\n')
      return { json: { digest, superseded, manifest: { ...manifest }, attestations }, text }
    } finally {
      client.close()
    }
  },
})

function manifestText(digest: string, manifest: Manifest): string {
  const { run, version, round, federation, base, plan, strategy } = manifest
  const facts = [
    ['digest', digest],
    ['federation', federation],
    ['round', round === 0 ? '- (the initial checkpoint)' : `${run}/${round}`],
    ['base', base ?? '-'],
    ['plan', plan],
    ['strategy', strategyText(strategy)],
    ['codec', codecText(manifest.codec ?? F32)],
  ]
  const parts = [
    `${run}@${version}`,
    table([{ title: '' }, { title: '' }], facts).trimStart(),
    scoresTable(manifest),
    gateTable(manifest),
    contributionsTable(manifest),
    filesTable(manifest),
  ]
  return parts.filter((part) => part !== '').join('\n\n')
}

function scoresTable({ scores }: Manifest): string {
  const rows = Object.entries(scores).map(([tag, { base, candidate }]) => [
    tag,
    base.mean.toFixed(3),
    candidate.mean.toFixed(3),
    changeText(base.mean, candidate.mean),
    String(candidate.tokens),
  ])
  const numbers = ['BASE', 'LOSS', 'CHANGE', 'HELD-OUT TOKENS'].map((title) => ({ title, align: 'right' as const }))
  return rows.length === 0 ? '' : table([{ title: 'LANGUAGE' }, ...numbers], rows)
}

function gateTable({ gate }: Manifest): string {
  const rows = (gate?.groups ?? []).map(({ language, community, verdict, evidence }) => [
    language,
    printable(community) || '-',
    verdict.toUpperCase(),
    evidence === undefined ? '-' : `${evidence.low.toFixed(4)} to ${evidence.high.toFixed(4)}`,
    evidence?.method ?? '-',
  ])
  const titles = ['LANGUAGE', 'COMMUNITY', 'VERDICT', 'CHANGE, NATS A TOKEN', 'BY']
  const columns = titles.map((title) => ({ title }))
  return rows.length === 0 ? '' : table(columns, rows)
}

function contributionsTable(manifest: Manifest): string {
  const merged = mergesOf(manifest).flatMap(({ contributions }) => contributions)
  const rows = merged.map(({ node, member, weight, reason, languages }) => [
    node,
    member,
    weight.toFixed(4),
    printable(reason),
    Object.keys(languages).join(', '),
  ])
  const columns = [
    { title: 'NODE' },
    { title: 'MEMBER' },
    { title: 'WEIGHT' },
    { title: 'BECAUSE' },
    { title: 'LANGUAGES' },
  ]
  return rows.length === 0 ? '' : table(columns, rows)
}

function filesTable({ files }: Manifest): string {
  return fileRows('FILE', files)
}

/** They are proven before they are shown. */
function attestationsTable(attestations: readonly ReleasedFile[]): string {
  return attestations.length === 0 ? '' : fileRows('ATTESTATION', attestations)
}

function fileRows(title: string, files: readonly ReleasedFile[]): string {
  const rows = files.map(({ path, size, digest }) => [printable(path), formatBytes(size), digest])
  return table([{ title }, { title: 'SIZE', align: 'right' }, { title: 'DIGEST' }], rows)
}
