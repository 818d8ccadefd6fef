import type { Millis } from '../core/clock.ts'
import type { Digest } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import type { Summary } from '../model/summary.ts'
import type { UploadRow } from './records.ts'
import type { CountedBytes } from './store.ts'
import { together } from './together.ts'

/** What a node wants to send, what of the uploads has been discarded, and how much it may have open. */
type Announcement = {
  readonly row: UploadRow
  readonly gone: readonly Digest[]
  readonly maxOpenUploads: number
  readonly maxOpenBytes: number
  readonly maxRoundBytes: number
}

/** Why an announcement was not taken, and the uploads that would have to go first. */
export type InTheWay = { readonly refusal: TapestryError; readonly uploads: readonly UploadRow[] }

type Answer = InTheWay | TapestryError | undefined

/**
 * Takes announcements, many in one transaction. Undefined: it was taken.
 * @throws TapestryError INVALID_ARGUMENT for another size than the node announced before; RESOURCE_EXHAUSTED for too much for one round.
 */
export const announce = together<Announcement, InTheWay | undefined>('announce-upload', {}, async (tx, asked) => {
  await tx.removeUploads(asked.flatMap(({ gone }) => gone))
  const rows = await tx.uploadsBeside(asked.map(({ row }) => row))
  const open = new Map(rows.map((row): [Digest, UploadRow] => [row.digest, row]))
  const taken = new Map<Digest, UploadRow>()
  const answers = new Map<Announcement, Answer>()
  for (const wave of wavesOf(asked)) {
    const [judged, fresh] = judgeWave(wave, open)
    const counted = await tx.countAnnounced(
      fresh.map(({ row, maxRoundBytes }) => ({ node: row.node, bytes: row.size, most: maxRoundBytes })),
    )
    for (const { one, answer } of judged) {
      const room = fresh.includes(one) ? counted.get(one.row.node) : undefined
      const given = answer ?? (room?.counted === false ? tooMuch(one, room) : undefined)
      answers.set(one, given)
      if (given === undefined) for (const map of [open, taken]) map.set(one.row.digest, one.row)
    }
  }
  await tx.putUploads([...taken.values()])
  return asked.map((one) => answers.get(one))
})

/** Announcements that do not bear on each other: each node and each artifact appears once in a wave. */
function wavesOf(asked: readonly Announcement[]): Announcement[][] {
  const waves: { readonly all: Announcement[]; readonly names: Set<string> }[] = []
  for (const one of asked) {
    const names = [one.row.node, one.row.digest]
    // After the last that bears on it, so that the order stays.
    const last = waves.findLastIndex((wave) => names.some((name) => wave.names.has(name)))
    const wave = waves[last + 1] ?? { all: [], names: new Set() }
    if (waves[last + 1] === undefined) waves.push(wave)
    wave.all.push(one)
    for (const name of names) wave.names.add(name)
  }
  return waves.map(({ all }) => all)
}

/** @returns what is said of each, and those that begin: what is resumed was counted when it began. */
function judgeWave(wave: readonly Announcement[], open: ReadonlyMap<Digest, UploadRow>) {
  const judged = wave.map((one) => ({ one, answer: judge(one, open) }))
  const fresh = judged.flatMap(({ one, answer }) => (answer === undefined && !open.has(one.row.digest) ? [one] : []))
  return [judged, fresh] as const
}

/** @param open at least what the node has open, and who sends the same artifact. */
function judge({ row, maxOpenUploads, maxOpenBytes }: Announcement, open: ReadonlyMap<Digest, UploadRow>): Answer {
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

function tooMuch({ row, maxRoundBytes }: Announcement, { until }: CountedBytes): TapestryError {
  return new TapestryError('RESOURCE_EXHAUSTED', `more than ${maxRoundBytes} bytes for one round`, {
    hint: 'take part in the next round; the operator can raise maxRoundBytes',
    retryMs: Math.max(RETRY_MS, (until ?? 0) - row.createdAt),
  })
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
