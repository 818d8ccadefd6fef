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
  reader: Reader,
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

/** Where a node trains, and what its member has taken back. */
export async function circumstances(reader: Reader, { member }: NodeRow) {
  const withdrawn = (await reader.withdrawnRecords(member)).flatMap(withdrawnOf)
  return { trainedIn: (await reader.member(member))?.jurisdiction ?? null, withdrawn }
}

export function recordOf({ text }: DatasetRecordRow): DatasetRecord {
  return parseDatasetRecord(Buffer.from(text, 'utf8'))
}

/** The node's own records behind a contribution, each in a language that it declares. */
async function namedRecords(
  reader: Reader,
  { records = [] }: ContributionManifest,
  node: NodeRow,
): Promise<Verdict<readonly DatasetRecordRow[]>> {
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
