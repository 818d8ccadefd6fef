import type { Millis } from '../core/clock.ts'
import type { Digest } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import type { Summary } from '../model/summary.ts'
import type { UploadRow } from './records.ts'
import { together } from './together.ts'

/** What a node wants to send, what of the uploads has been discarded, and how much it may have open. */
type Announcement = {
  readonly row: UploadRow
  readonly gone: readonly Digest[]
  readonly maxOpenUploads: number
  readonly maxOpenBytes: number
}

/** Why an announcement was not taken, and the uploads that would have to go first. */
export type InTheWay = { readonly refusal: TapestryError; readonly uploads: readonly UploadRow[] }

/**
 * Takes announcements, many in one transaction. Undefined: it was taken.
 * @throws TapestryError INVALID_ARGUMENT for another size than the node announced before.
 */
export const announce = together<Announcement, InTheWay | undefined>('announce-upload', {}, async (tx, asked) => {
  await tx.removeUploads(asked.flatMap(({ gone }) => gone))
  const rows = await tx.uploadsBeside(asked.map(({ row }) => row))
  const open = new Map(rows.map((row): [Digest, UploadRow] => [row.digest, row]))
  const taken = new Map<Digest, UploadRow>()
  const answers = asked.map((one) => {
    const answer = judge(one, open)
    if (answer === undefined) for (const map of [open, taken]) map.set(one.row.digest, one.row)
    return answer
  })
  await tx.putUploads([...taken.values()])
  return answers
})

/** @param open at least what the node has open, and who sends the same artifact. */
function judge(
  { row, maxOpenUploads, maxOpenBytes }: Announcement,
  open: ReadonlyMap<Digest, UploadRow>,
): InTheWay | TapestryError | undefined {
  const known = open.get(row.digest)
  if (known !== undefined && known.node !== row.node) return { refusal: anotherSends(), uploads: [known] }
  if (known !== undefined && known.size !== row.size) return anotherSize(known.size, row.size)
  const others = [...open.values()].filter(({ node, digest }) => node === row.node && digest !== row.digest)
  if (others.length >= maxOpenUploads) {
    return { refusal: tooMany(`more than ${maxOpenUploads} unfinished uploads`), uploads: others }
  }
  const bytes = others.reduce((sum, { size }) => sum + size, row.size)
  if (bytes <= maxOpenBytes) return undefined
  return { refusal: tooMany(`more than ${maxOpenBytes} bytes of unfinished uploads`), uploads: [] }
}

type Finished = { readonly digest: Digest; readonly summary: Summary | undefined; readonly now: Millis }

/**
 * Ends announcements and keeps what was learned about the bytes. It decides nothing from what it reads, and whoever
 * writes last about some bytes writes what the others did: it needs no view of the whole, and so disturbs nobody's.
 */
export const finishUpload = together<Finished, undefined>(
  'finish-upload',
  { isolation: 'ReadCommitted' },
  async (tx, all) => {
    const learned = new Map(
      all.flatMap(({ digest, summary }) => (summary === undefined ? [] : [[digest, summary] as const])),
    )
    const rows = [...learned].map(([digest, summary]) => ({ digest, summary }))
    await tx.removeUploads(all.map(({ digest }) => digest))
    await tx.putInspections(rows, Math.max(...all.map(({ now }) => now)))
    return all.map(() => undefined)
  },
)

/** @throws TapestryError INVALID_ARGUMENT */
export function ensureSameSize(announced: number, size: number): void {
  if (announced !== size) throw anotherSize(announced, size)
}

function anotherSize(announced: number, size: number): TapestryError {
  return new TapestryError('INVALID_ARGUMENT', `this artifact has ${announced} bytes, not ${size}`)
}

function anotherSends(): TapestryError {
  return new TapestryError('FAILED_PRECONDITION', 'another node is sending this artifact', { hint: 'try again later' })
}

/** Uploads end within seconds or minutes. */
const RETRY_MS = 10_000

function tooMany(detail: string): TapestryError {
  return new TapestryError('RESOURCE_EXHAUSTED', detail, {
    hint: 'finish the uploads that are open',
    retryMs: RETRY_MS,
  })
}
