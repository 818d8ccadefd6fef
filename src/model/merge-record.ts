import { canonicalBytes } from '../core/canonical-json.ts'
import type { Digest } from '../core/digest.ts'
import type { FederationId, RunId } from '../core/ids.ts'
import { type Merging, mergingText } from '../core/model-merging.ts'
import type { ReleasedFile } from './manifest.ts'

/** The name of {@link mergeRecordBytes} in the directory of a merged model. */
export const MERGE_RECORD_FILE = 'merge.json'

/** A verified checkpoint that went into a merge. */
export type MergedModel = {
  /** Of its signed manifest. */
  readonly digest: Digest
  readonly federation: FederationId
  readonly run: RunId
  readonly version: number
}

/**
 * What a merged model is made of: enough to make it again, byte for byte. Nobody has signed it: whoever trusts it
 * trusts who gave it, or repeats the merge from the signed checkpoints that it names. Holds no time.
 */
export type MergeRecord = {
  readonly format: 'tapestry-merge/1'
  readonly strategy: Merging
  readonly base: MergedModel
  /** In the order of the merge. */
  readonly models: readonly MergedModel[]
  readonly files: readonly ReleasedFile[]
}

export function mergeRecordBytes(record: MergeRecord): Uint8Array {
  return canonicalBytes({ ...record, strategy: { ...record.strategy, parameters: { ...record.strategy.parameters } } })
}

/** README.md of a merged model. States no time, so equal inputs give equal bytes. @param cards of base and models */
export function mergeCard({ strategy, base, models }: Omit<MergeRecord, 'files'>, cards: readonly string[]): string {
  const source = ({ run, version, federation, digest }: MergedModel) =>
    `- \`${run}@${version}\` of the federation \`${federation}\`: \`${digest}\``
  const parts = [
    ['---', ...licenseLines(cards), 'library_name: "transformers"', 'pipeline_tag: "text-generation"'],
    ['tags:', '  - "tapestry"', '  - "merge"', '  - "byte-level"', '---'],
    ['', `# A merge of ${models.map(({ run, version }) => `${run}@${version}`).join(' and ')}`],
    [
      '',
      `Made with \`${mergingText(strategy)}\` from released checkpoints, without training and without scores: nobody`,
    ],
    ['has measured it. **It is not a release, and it is not signed.** `merge.json` lists what went into it and the'],
    ['digest of every file; with the checkpoints that it names, `tapestry models merge` makes the same bytes again.'],
    ['', 'The most restrictive licence of its sources applies.'],
    ['', '## Base', '', source(base)],
    ['', '## Models, in the order of the merge', '', ...models.map(source)],
  ]
  return `${parts.flat().join('\n')}\n`
}

/** The licence of the sources when all have one and the same; otherwise a reader is sent to them. */
function licenseLines(cards: readonly string[]): string[] {
  const stated = cards.map((card) => {
    const front = /^---\n(.*?)\n---\n/s.exec(card)?.[1] ?? ''
    return front.split('\n').filter((line) => /^license(_name)?: /.test(line))
  })
  const [first = []] = stated
  const common = first.length > 0 && stated.every((lines) => lines.join('\n') === first.join('\n'))
  return common ? first : ['license: "other"', 'license_name: "those-of-its-sources"']
}
