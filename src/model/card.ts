import type { LlamaArchitecture } from './llama-config.ts'
import { type Manifest, type MergedContribution, mergesOf, type Score } from './manifest.ts'
import { plain, table } from './markdown.ts'
import { parseOperatorRecord } from './operator-record.ts'
import { parseOverrideStatement } from './override.ts'
import type { TrainingContent } from './training-content.ts'
import { trainingSection } from './training-section.ts'

/** Everything of a manifest that a card states: the card is itself one of the manifest's files. */
export type CardSource = Omit<Manifest, 'files'>

/** `name`: for people; `license`: an SPDX identifier. */
export type CardOptions = {
  readonly name: string
  readonly license: string
  readonly architecture: LlamaArchitecture
  readonly training: TrainingContent
}

/** SPDX identifiers that model hubs know under the same name in lower case; others are stated as `other`. */
const HUB_LICENSES: ReadonlySet<string> = new Set([
  'apache-2.0',
  'mit',
  'bsd-3-clause',
  'cc0-1.0',
  'cc-by-4.0',
  'cc-by-sa-4.0',
  'cc-by-nc-4.0',
  'cc-by-nc-sa-4.0',
])

/**
 * README.md of a checkpoint: YAML front matter for model hubs, scores, contributions, training content, and
 * how to verify the files. States no time, so equal inputs give equal bytes.
 */
export function modelCard(manifest: CardSource, options: CardOptions): string {
  const parts = [
    frontMatter(manifest, options),
    `# ${plain(options.name)}`,
    introduction(manifest, options.architecture),
    '## Scores',
    scoreTable(manifest),
    ...gateSection(manifest),
    ...overrideSection(manifest),
    '## Contributions',
    contributionTable(manifest),
    '## Training content',
    trainingSection(options.training),
    '## Verify',
    verification(manifest),
  ]
  return `${parts.join('\n\n')}\n`
}

function frontMatter(manifest: CardSource, { license }: CardOptions): string {
  const languages = languagesOf(manifest)
  const lines = ['---', languages.length > 0 ? 'language:' : 'language: []', ...languages.map(item)]
  lines.push(...licenseLines(license), 'library_name: "transformers"', 'pipeline_tag: "text-generation"')
  lines.push('tags:', ...['tapestry', 'federated-learning', 'byte-level', `run:${manifest.run}`].map(item), '---')
  return lines.join('\n')
}

/** Quoted: unquoted, the tag of Norwegian reads as a boolean. JSON strings are YAML strings. */
const item = (text: string) => `  - ${JSON.stringify(text)}`

function licenseLines(license: string): string[] {
  const name = license.toLowerCase()
  if (HUB_LICENSES.has(name)) return [`license: ${JSON.stringify(name)}`]
  return ['license: "other"', `license_name: ${JSON.stringify(license)}`]
}

function languagesOf(manifest: CardSource): string[] {
  const merged = mergesOf(manifest).flatMap(({ contributions }) => contributions)
  const tags = [...Object.keys(manifest.scores), ...merged.flatMap(({ languages }) => Object.keys(languages))]
  return [...new Set(tags)].sort()
}

function introduction(manifest: CardSource, architecture: LlamaArchitecture): string {
  const { run, version, plan } = manifest
  const { layers, hiddenSize, heads, contextLength, vocabSize } = architecture
  const origin = originOf(manifest)
  return [
    `Version ${version} of the run \`${run}\`, trained together by the nodes below. Data never left them; they`,
    `exchanged weights only. ${origin}`,
    '',
    `A Llama with ${layers} layers of ${hiddenSize} dimensions and ${heads} heads, a context of ${contextLength} tokens,`,
    `and a vocabulary of ${vocabSize}: the UTF-8 bytes and three special tokens. Plan: \`${plan}\`.`,
  ].join('\n')
}

function originOf({ base, round, revision }: CardSource): string {
  if (base === null) return 'It is the initial checkpoint of its run: no data has shaped it yet.'
  if (revision === undefined) return `It merges the contributions of round ${round} into the checkpoint \`${base}\`.`
  const { replaces, indirectInfluence } = revision
  return [
    `Contributions were revoked. It merges what remains into \`${base}\`, the last checkpoint without them, in place of`,
    `${replaces.map((digest) => `\`${digest}\``).join(', ')}. Some of what remains was trained from models that the`,
    `revoked contributions had moved: by weight and length, an estimated ${(indirectInfluence * 100).toFixed(1)} %.`,
  ].join('\n')
}

function scoreTable({ scores }: CardSource): string {
  const tags = Object.keys(scores).sort()
  if (tags.length === 0) return 'No scores were measured.'
  const rows = tags.flatMap((tag) => {
    const score = scores[tag]
    if (!score) return []
    const { base, candidate, measuredBy } = score
    return [[tag, scoreText(base), scoreText(candidate), String(candidate.tokens), measuredBy.join(', ')]]
  })
  const note = 'Mean loss on held-out text in nats per token (lower is better) and its standard error.'
  return `${note}\n\n${table(['Language', 'Base', 'This checkpoint', 'Tokens', 'Measured by'], rows)}`
}

/** What the release gate found, languages that nobody measured included: silence would pass for good news. */
function gateSection({ gate }: CardSource): string[] {
  if (gate === undefined) return []
  const rows = gate.groups.map(({ language, community, verdict, evidence }) => [
    language,
    community || '-',
    verdict,
    evidence === undefined ? '-' : `${evidence.low.toFixed(4)} to ${evidence.high.toFixed(4)}`,
  ])
  const sure = `${(gate.confidence * 100).toFixed(1)} %`
  const note = `Change of the loss against the base, as an interval whose ends hold at ${sure} each (below 0 is better).`
  return ['## Release gate', `${note}\n\n${table(['Language', 'Community', 'Verdict', 'Change'], rows)}`]
}

/** Stands right below what the gate found: whoever reads on must meet it. */
function overrideSection({ override }: CardSource): string[] {
  if (override === undefined) return []
  const { threshold, operators } = parseOperatorRecord(Buffer.from(override.operators.record, 'utf8'))
  const rows = override.statements.map(({ statement, signature }) => {
    const { reason } = parseOverrideStatement(Buffer.from(statement, 'utf8'))
    return [operators.find(({ keyId }) => keyId === signature.keyId)?.name ?? '-', signature.keyId, reason]
  })
  const note = `The gate had blocked this checkpoint. Operators released it; ${threshold} of ${operators.length} had to sign.`
  return ['## Released by override', `${note}\n\n${table(['Operator', 'Key', 'Reason'], rows)}`]
}

const scoreText = ({ mean, standardError }: Score) => `${mean.toFixed(4)} ± ${standardError.toFixed(4)}`

function contributionTable(manifest: CardSource): string {
  const merges = mergesOf(manifest)
  if (merges.length === 0) return 'None.'
  return merges
    .map(({ round, contributions }) => {
      const heading = manifest.revision === undefined ? '' : `From round ${round}:\n\n`
      return `${heading}${contributionRows(contributions)}`
    })
    .join('\n\n')
}

function contributionRows(contributions: readonly MergedContribution[]): string {
  const rows = [...contributions].sort(inOrder).map(({ node, member, weight, reason, languages }) => {
    const tokens = Object.keys(languages)
      .sort()
      .map((tag) => `${tag} ${languages[tag]}`)
    return [node, member, weight.toFixed(6), reason, tokens.join(', ')]
  })
  return table(['Node', 'Member', 'Weight', 'Reason', 'Tokens trained on'], rows)
}

function inOrder(a: MergedContribution, b: MergedContribution): number {
  return a.id < b.id ? -1 : a.id > b.id ? 1 : 0
}

function verification({ federation, parents }: CardSource): string {
  const lines = [
    `Signed by the federation \`${federation}\`. \`manifest.json\` lists the digest of every file and`,
    'of every contribution; `manifest.sig` signs it with a release key; `federation.json` proves that key. Offline:',
    '',
    '```sh',
    `tapestry verify . --trust ${federation}`,
    '```',
  ]
  if (parents.length > 0) lines.push('', 'Parents:', '', ...parents.map((parent) => `- \`${parent}\``))
  return lines.join('\n')
}
