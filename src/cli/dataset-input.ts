import { basename } from 'node:path'
import { type Digest, ensureDigest } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import type { RecordId } from '../core/ids.ts'
import type { Jurisdiction } from '../core/jurisdiction.ts'
import type { LanguageTag } from '../core/language-tag.ts'
import { type DataSource, discoverSources } from '../engine/sources.ts'
import { parseTerms, termsText } from '../participant/dataset-file.ts'
import { digestOfFile } from '../participant/file-digest.ts'
import type { Consent, DatasetTerms } from '../policy/dataset-record.ts'
import type { LicenceClass } from '../policy/licence-table.ts'
import { readNamedFile, requireNamedDirectory } from './named-file.ts'

/** A record as the command line gives it. */
export type DatasetInput = {
  readonly id?: RecordId | undefined
  readonly file?: string | undefined
  readonly steward?: string | undefined
  readonly title?: string | undefined
  readonly language?: readonly LanguageTag[] | undefined
  readonly licence?: string | undefined
  readonly licenceClass?: Readonly<Record<string, LicenceClass>> | undefined
  readonly consent?: Consent['kind'] | undefined
  readonly evidence?: string | undefined
  readonly granted?: string | undefined
  readonly expires?: string | undefined
  readonly use?: DatasetTerms['uses'] | undefined
  readonly stage?: DatasetTerms['stages']
  readonly trainIn?: readonly Jurisdiction[] | undefined
  readonly coordinateIn?: readonly Jurisdiction[] | undefined
  readonly authority?: string | undefined
  readonly contact?: string | undefined
  readonly label?: readonly string[] | undefined
  readonly public: boolean
}

/** The text that a new record may declare: a folder's, or what the node holds undeclared. */
export async function declaredSources(
  data: string | undefined,
  sources: readonly DataSource[],
): Promise<readonly DataSource[]> {
  if (data === undefined) return sources.filter(({ record }) => record === undefined)
  await requireNamedDirectory(data)
  return discoverSources(data)
}

/** @throws TapestryError NOT_FOUND for a file; DATA_INVALID for what is in it; INVALID_ARGUMENT for what is not said. */
export async function termsFrom(input: DatasetInput, candidates: readonly DataSource[]): Promise<DatasetTerms> {
  const { id, file } = input
  if (file !== undefined) return parseTerms(await readNamedFile(file), file)
  const languages = input.language ?? [...new Set(candidates.map(({ language }) => language))]
  const text = termsText({
    id: required(id, 'the name of the dataset'),
    steward: required(input.steward, '--steward'),
    title: input.title ?? required(id, 'the name of the dataset'),
    languages,
    communities: communitiesOf(input),
    licence: required(input.licence, '--licence'),
    licenceClasses: input.licenceClass,
    consent: {
      kind: required(input.consent, '--consent'),
      evidence: await evidenceOf(required(input.evidence, '--evidence')),
      granted: required(input.granted, '--granted'),
      expires: input.expires,
    },
    residency: residencyOf(input),
    uses: required(input.use, '--use'),
    stages: input.stage,
    public: input.public,
  })
  return parseTerms(text, 'the record')
}

function required<T>(value: T | undefined, name: string): T {
  if (value !== undefined) return value
  throw new TapestryError('INVALID_ARGUMENT', `${name} is missing`, {
    hint: 'or write the record as YAML, and name it with --file; docs/RECORDS.md has one to start from',
  })
}

/** The paper stays where it is: only its digest is declared. */
async function evidenceOf(text: string): Promise<Digest> {
  if (text.startsWith('sha256:')) return ensureDigest(text)
  const found = await digestOfFile(text).catch((cause: unknown) => {
    throw new TapestryError('NOT_FOUND', `cannot read the evidence ${basename(text)}`, { cause })
  })
  if (found.size > 0) return found.digest
  throw new TapestryError('INVALID_ARGUMENT', `the evidence ${basename(text)} is empty`)
}

function communitiesOf({ authority, contact, label }: DatasetInput): DatasetTerms['communities'] {
  if (authority !== undefined) return [{ authority, contact, labels: label }]
  if (contact === undefined && label === undefined) return undefined
  throw new TapestryError('INVALID_ARGUMENT', '--contact and --label belong to an --authority')
}

function residencyOf({ trainIn, coordinateIn }: DatasetInput): DatasetTerms['residency'] {
  if (trainIn === undefined && coordinateIn === undefined) return undefined
  return { training: trainIn, coordination: coordinateIn }
}
