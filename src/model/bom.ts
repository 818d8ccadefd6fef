import { type Digest, digestOf, hexOf } from '../core/digest.ts'
import type { LlamaArchitecture } from './llama-config.ts'
import type { Manifest, ReleasedFile, Score } from './manifest.ts'
import { jsonFile, type ModelFile } from './model-file.ts'
import { ATTESTATION } from './release-path.ts'
import type { DeclaredDataset, TrainingContent, TrainingShare } from './training-content.ts'

/** `license`: SPDX expression that the checkpoint is released under. */
export type BomSource = {
  readonly manifest: Manifest
  readonly checkpoint: Digest
  readonly architecture: LlamaArchitecture
  readonly license: string
  readonly training: TrainingContent
  readonly shares: readonly TrainingShare[]
  readonly datasets: readonly DeclaredDataset[]
}

/** The two-sided 95 % quantile of the normal distribution. */
const Z_95 = 1.96

/**
 * attestations/bom.cdx.json: a CycloneDX 1.6 ML-BOM (ECMA-424). The model with its card, the base it descends
 * from, its files with their digests, and for every member the data that its contributions report. Holds no time:
 * equal inputs give equal bytes.
 */
export function billOfMaterials(source: BomSource): ModelFile {
  const { manifest, checkpoint, training } = source
  const members = training.members.map(({ member }) => member)
  const shares = byMember(source.shares)
  const datasets = byMember(source.datasets)
  return jsonFile(ATTESTATION.bom, {
    bomFormat: 'CycloneDX',
    specVersion: '1.6',
    serialNumber: serialNumber(checkpoint),
    version: 1,
    metadata: { component: model(source, members) },
    components: members.map((member) => memberData(member, shares.get(member), datasets.get(member))),
    dependencies: [{ ref: checkpoint, dependsOn: members.map(dataRef) }],
    properties: [{ name: 'tapestry:federation', value: manifest.federation }],
  })
}

function model({ manifest, checkpoint, architecture, license, training }: BomSource, members: readonly string[]) {
  const { run, version, round, base, files, plan } = manifest
  return {
    type: 'machine-learning-model',
    'bom-ref': checkpoint,
    name: run,
    version: String(version),
    manufacturer: { name: training.generalInformation.provider.name },
    description: 'SHA-256 is that of manifest.json, which names the digest of every file.',
    hashes: hashes(checkpoint),
    licenses: [{ expression: license }],
    ...(base === null ? {} : { pedigree: { ancestors: [ancestor(run, version - 1, base)] } }),
    components: files.map(fileComponent),
    modelCard: {
      modelParameters: {
        approach: { type: 'self-supervised' },
        task: 'text-generation',
        architectureFamily: architecture.kind,
        modelArchitecture: 'LlamaForCausalLM',
        datasets: members.map((member) => ({ ref: dataRef(member) })),
        inputs: [{ format: 'text' }],
        outputs: [{ format: 'text' }],
      },
      quantitativeAnalysis: { performanceMetrics: metrics(manifest) },
    },
    properties: [
      { name: 'tapestry:round', value: String(round) },
      { name: 'tapestry:plan', value: plan },
    ],
  }
}

function ancestor(run: string, version: number, base: Digest) {
  return { type: 'machine-learning-model', name: run, version: String(version), hashes: hashes(base) }
}

function fileComponent({ path, digest, size }: ReleasedFile) {
  return {
    type: 'file',
    'bom-ref': `file/${path}`,
    name: path,
    hashes: hashes(digest),
    properties: [{ name: 'tapestry:bytes', value: String(size) }],
  }
}

function metrics({ scores }: Manifest) {
  return Object.entries(scores).map(([language, { candidate }]) => ({
    type: 'mean held-out loss in nats per token',
    slice: language,
    value: String(candidate.mean),
    confidenceInterval: interval(candidate),
  }))
}

function interval({ mean, standardError }: Score) {
  const margin = Z_95 * standardError
  return { lowerBound: String(mean - margin), upperBound: String(mean + margin) }
}

/** What a member's contributions report: one property for each language of each community. */
function memberData(member: string, shares: readonly TrainingShare[] = [], declared: readonly DeclaredDataset[] = []) {
  const licences = [...new Set(declared.map(({ licence }) => licence))].sort()
  return {
    type: 'data',
    'bom-ref': dataRef(member),
    name: member,
    ...(licences.length === 0 ? {} : { licenses: licences.map((name) => ({ license: { name } })) }),
    data: [
      {
        type: 'dataset',
        name: member,
        description: 'Text that stayed with the member; amounts as its nodes report them.',
        contents: { properties: shares.flatMap(amounts) },
        governance: { custodians: [{ organization: { name: member } }] },
      },
    ],
  }
}

function amounts({ language, community, tokens, documents }: TrainingShare) {
  const scope = community === '' ? language : `${language}:${community}`
  return [
    { name: `tapestry:tokens:${scope}`, value: String(tokens) },
    { name: `tapestry:documents:${scope}`, value: String(documents) },
  ]
}

function byMember<T extends { readonly member: string }>(rows: readonly T[]): ReadonlyMap<string, readonly T[]> {
  const groups = new Map<string, T[]>()
  for (const row of rows) {
    const group = groups.get(row.member)
    if (group === undefined) groups.set(row.member, [row])
    else group.push(row)
  }
  return groups
}

const dataRef = (member: string) => `data/${member}`
const hashes = (digest: Digest) => [{ alg: 'SHA-256', content: hexOf(digest) }]

/** A UUID of version 8 (RFC 9562, section 5.8) from the checkpoint's digest: one BOM, one number. */
function serialNumber(checkpoint: Digest): string {
  const hex = hexOf(digestOf(`bom of ${checkpoint}`))
  const variant = ((Number.parseInt(hex.slice(16, 17), 16) & 3) | 8).toString(16)
  const parts = [hex.slice(0, 8), hex.slice(8, 12), `8${hex.slice(13, 16)}`, `${variant}${hex.slice(17, 20)}`]
  return `urn:uuid:${[...parts, hex.slice(20, 32)].join('-')}`
}
