import { join } from 'node:path'
import { z } from 'zod'
import type { RoundKey } from '../core/ids.ts'
import { type SignedText, sentSchema } from './dataset-file.ts'
import type { NodeDirectory } from './node-directory.ts'
import { readRecord, writeRecord } from './private-file.ts'

/** What the node's people have decided about taking part: `participation.json`. Only their commands write it. */
export type Wishes = {
  /** Takes no part in anything until it resumes. */
  readonly paused: boolean
  /** Rounds that it takes no part in, as `run/number`; the latest last. */
  readonly skipped: readonly string[]
}

const NOTHING: Wishes = { paused: false, skipped: [] }
const wishesSchema: z.ZodType<Wishes> = z.strictObject({ paused: z.boolean(), skipped: z.array(z.string()) })

/** Old rounds have long ended; a list that only grew would be read every second. */
const MOST_SKIPPED = 1000

const wishesPath = ({ root }: NodeDirectory) => join(root, 'participation.json')
const departurePath = ({ root }: NodeDirectory) => join(root, 'departure.json')

/** @throws TapestryError DATA_INVALID: a node that cannot read what its people want does not guess. */
export async function readWishes(directory: NodeDirectory): Promise<Wishes> {
  return (await readRecord(wishesPath(directory), wishesSchema)) ?? NOTHING
}

export async function writePaused(directory: NodeDirectory, paused: boolean): Promise<void> {
  await writeRecord(wishesPath(directory), { ...(await readWishes(directory)), paused })
}

export async function writeSkipped(directory: NodeDirectory, key: RoundKey): Promise<void> {
  const wishes = await readWishes(directory)
  const others = wishes.skipped.filter((name) => name !== nameOf(key))
  await writeRecord(wishesPath(directory), { ...wishes, skipped: [...others, nameOf(key)].slice(-MOST_SKIPPED) })
}

/** The node's signed farewell, once there is one; from then on it takes part in nothing. @throws TapestryError DATA_INVALID */
export function readDeparture(directory: NodeDirectory): Promise<SignedText | undefined> {
  return readRecord(departurePath(directory), sentSchema)
}

export async function writeDeparture(directory: NodeDirectory, departure: SignedText): Promise<void> {
  await writeRecord(departurePath(directory), departure)
}

/** The decisions as a running node follows them: it looks again and again. */
export class Participation {
  readonly #directory: NodeDirectory
  #wishes: Wishes = NOTHING
  #departing = false

  constructor(directory: NodeDirectory) {
    this.#directory = directory
  }

  get paused(): boolean {
    return this.#wishes.paused
  }

  /** The node has left, whether or not its coordinator knows. */
  get departing(): boolean {
    return this.#departing
  }

  /** Whether the node takes part in a round, as far as its people have decided. */
  wants(key: RoundKey): boolean {
    return !this.#departing && !this.paused && !this.#wishes.skipped.includes(nameOf(key))
  }

  /** Reads the decisions again. @returns whether there is something new. */
  async refresh(): Promise<boolean> {
    const before = JSON.stringify([this.#wishes, this.#departing])
    this.#wishes = await readWishes(this.#directory)
    this.#departing = (await readDeparture(this.#directory)) !== undefined
    return JSON.stringify([this.#wishes, this.#departing]) !== before
  }
}

function nameOf({ run, number }: RoundKey): string {
  return `${run}/${number}`
}
