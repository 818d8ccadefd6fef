import type { Millis } from '../core/clock.ts'
import { accept, reject, type Verdict } from '../core/rejection.ts'
import type { ContributionManifest } from '../model/contribution-manifest.ts'
import { admitTogether, type Withdrawn } from '../policy/admission.ts'
import { type DatasetRecord, parseDatasetRecord } from '../policy/dataset-record.ts'
import { deadlineOf, type Round } from '../round/round.ts'
import type { Reader } from '../store/reader.ts'
import type { DatasetRecordRow, NodeRow } from '../store/records.ts'

/**
 * Whether the records that a contribution names allow it, now and until its round must be merged.
 * @returns rejection NO_RECORD, INVALID_REPORT, or as `admitTogether` of src/policy
 */
export async function admitContribution(
  reader: AdmissionReader,
  manifest: ContributionManifest,
  node: NodeRow,
  round: Round,
  now: Millis,
): Promise<Verdict<void>> {
  const { demands } = round.policy
  const named = await namedRecords(reader, manifest, node)
  if (!named.ok) return named
  if (demands === null) return standing(named.value)
  if (named.value.length === 0) {
    return reject('NO_RECORD', 'this run takes only contributions that name dataset records: tapestry dataset add')
  }
  const { trainedIn, withdrawn } = await circumstances(reader, node)
  const occasion = { demands, trainedIn, now, until: Math.max(now, deadlineOf(round) ?? now) }
  return admitTogether(named.value.map(recordOf), occasion, withdrawn)
}

/** What admission asks. */
export type AdmissionReader = Pick<Reader, 'datasetRecords' | 'withdrawnRecords' | 'member'>

type Asking = { readonly manifest: ContributionManifest; readonly node: NodeRow }

/** Reads at once what the admission of several contributions asks for. It answers about these alone. */
export async function admissionReader(reader: AdmissionReader, all: readonly Asking[]): Promise<AdmissionReader> {
  const named = all.flatMap(({ manifest: { records = [] } }) => records.map(({ digest }) => digest))
  if (named.length === 0) return reader
  const ids = [...new Set(all.map(({ node }) => node.member))]
  const records = await reader.datasetRecords([...new Set(named)])
  const withdrawn = await reader.withdrawnRecords(ids)
  const members = await Promise.all(ids.map((id) => reader.member(id)))
  return {
    datasetRecords: async (digests) => records.filter(({ digest }) => digests.includes(digest)),
    withdrawnRecords: async (of) => withdrawn.filter(({ member }) => of.includes(member)),
    member: async (id) => members[ids.indexOf(id)],
  }
}

/** Where a node trains, and what its member has taken back. */
export async function circumstances(reader: Pick<AdmissionReader, 'withdrawnRecords' | 'member'>, { member }: NodeRow) {
  const withdrawn = (await reader.withdrawnRecords([member])).flatMap(withdrawnOf)
  return { trainedIn: (await reader.member(member))?.jurisdiction ?? null, withdrawn }
}

export function recordOf({ text }: DatasetRecordRow): DatasetRecord {
  return parseDatasetRecord(Buffer.from(text, 'utf8'))
}

/** The node's own records behind a contribution, each in a language that it declares. */
async function namedRecords(
  reader: AdmissionReader,
  { records = [] }: ContributionManifest,
  node: NodeRow,
): Promise<Verdict<readonly DatasetRecordRow[]>> {
  if (records.length === 0) return accept([])
  const rows = await reader.datasetRecords(records.map(({ digest }) => digest))
  for (const { digest, languages } of records) {
    const row = rows.find((one) => one.digest === digest && one.node === node.id)
    if (row === undefined) return reject('NO_RECORD', `${digest} is no dataset record that this node has registered`)
    const declared = recordOf(row).languages.map((language) => language.toLowerCase())
    const stray = languages.find(({ language }) => !declared.includes(language.toLowerCase()))
    if (stray !== undefined) return reject('INVALID_REPORT', `"${row.id}" does not declare text in ${stray.language}`)
  }
  return accept(rows)
}

/** A run that asks nothing still takes no data whose consent was withdrawn. */
function standing(rows: readonly DatasetRecordRow[]): Verdict<void> {
  const gone = rows.find(({ withdrawnAt }) => withdrawnAt !== null)
  return gone === undefined ? accept(undefined) : reject('CONSENT_WITHDRAWN', `consent for "${gone.id}" was withdrawn`)
}

function withdrawnOf({ node, id, content, evidence, withdrawnAt }: DatasetRecordRow): Withdrawn[] {
  return withdrawnAt === null ? [] : [{ node, id, content, evidence, at: withdrawnAt }]
}
