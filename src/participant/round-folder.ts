import { lstat, mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { type Digest, ensureDigest } from '../core/digest.ts'
import type { RoundKey, RunId } from '../core/ids.ts'
import { ensureLanguageTag } from '../core/language-tag.ts'
import type { Signature } from '../core/signature.ts'
import type { RecordUse } from '../model/contribution-manifest.ts'
import { branded, signatureSchema } from '../model/parsing.ts'
import { fileError } from '../model/whole-file.ts'
import type { NodeDirectory } from './node-directory.ts'
import { readRecord, syncDirectory, writeRecord } from './private-file.ts'
import type { TrainedLanguage } from './trainer.ts'

/** What training left: `report.json` beside `delta.safetensors`. */
export type Report = {
  readonly base: Digest
  readonly plan: Digest
  readonly payload: { readonly digest: Digest; readonly size: number }
  readonly languages: readonly TrainedLanguage[]
  /** Undefined when the contribution names none. */
  readonly records?: readonly RecordUse[] | undefined
  /** Undefined in reports that are older than policies. */
  readonly excluded?: { readonly files: number; readonly documents: number } | undefined
  readonly steps: number
  readonly wallMs: number
}

/** What was signed: sent again, byte for byte, until it is answered. */
export type Submission = { readonly manifest: string; readonly signature: Signature }

/** How the coordinator answered: `outcome.json`. */
export type Outcome = { readonly base: Digest; readonly contribution: 'accepted' | 'refused' }

const score = z.strictObject({ mean: z.number(), standardError: z.number(), tokens: z.number() })
const digest = branded(ensureDigest)

const reportSchema: z.ZodType<Report> = z.strictObject({
  base: digest,
  plan: digest,
  payload: z.strictObject({ digest, size: z.number() }),
  languages: z.array(
    z.strictObject({
      language: branded(ensureLanguageTag),
      community: z.string(),
      tokens: z.number(),
      documents: z.number(),
      before: score,
      after: score,
      // Reports that are older than paired evidence have none.
      beforeSequences: z.array(z.number()).optional(),
    }),
  ),
  records: z
    .array(
      z.strictObject({
        digest,
        languages: z.array(z.strictObject({ language: branded(ensureLanguageTag), tokens: z.number() })),
      }),
    )
    .optional(),
  excluded: z.strictObject({ files: z.number(), documents: z.number() }).optional(),
  steps: z.number(),
  wallMs: z.number(),
})
const submissionSchema: z.ZodType<Submission> = z.strictObject({ manifest: z.string(), signature: signatureSchema })
const outcomeSchema: z.ZodType<Outcome> = z.strictObject({
  base: digest,
  contribution: z.enum(['accepted', 'refused']),
})
const endSchema = z.strictObject({ phase: z.string() })

/** Finished rounds of a run whose folders are kept, newest first. */
const KEPT_ROUNDS = 2

const ELASTIC_FILE = 'elastic.safetensors'

/** A node's work on one round: everything needed to go on after a crash at any point. */
export class RoundFolder {
  readonly path: string
  /** What is sent. */
  readonly deltaPath: string
  /** What was trained, until it is encoded. */
  readonly trainedPath: string
  /** The base with each contribution that is under review; gone when they are scored. */
  readonly reviewsPath: string
  /** The node's own weights after the round, for runs with an elastic force. */
  readonly elasticPath: string

  constructor(directory: NodeDirectory, key: RoundKey) {
    this.path = directory.roundPath(key)
    this.deltaPath = join(this.path, 'delta.safetensors')
    this.trainedPath = join(this.path, 'trained.safetensors')
    this.reviewsPath = join(this.path, 'reviews')
    this.elasticPath = join(this.path, ELASTIC_FILE)
  }

  /** Makes the folder. @throws TapestryError DISK_FULL */
  async prepare(): Promise<void> {
    try {
      await mkdir(this.path, { recursive: true, mode: 0o700 })
      await syncDirectory(join(this.path, '..'))
    } catch (cause) {
      throw fileError(this.path, cause)
    }
  }

  async exists(): Promise<boolean> {
    return (await lstat(this.path).catch(() => undefined))?.isDirectory() === true
  }

  readReport = () => readOrForget(join(this.path, 'report.json'), reportSchema)
  writeReport = (report: Report) => writeRecord(join(this.path, 'report.json'), report)
  readSubmission = () => readOrForget(join(this.path, 'submission.json'), submissionSchema)
  writeSubmission = (submission: Submission) => writeRecord(join(this.path, 'submission.json'), submission)
  readOutcome = () => readOrForget(join(this.path, 'outcome.json'), outcomeSchema)
  writeOutcome = (outcome: Outcome) => writeRecord(join(this.path, 'outcome.json'), outcome)

  async isClosed(): Promise<boolean> {
    return (await readOrForget(join(this.path, 'end.json'), endSchema)) !== undefined
  }

  /** Remembers that the round's end was seen and told. */
  close = (phase: string) => writeRecord(join(this.path, 'end.json'), { phase })

  /** Begins anew: what is here belongs to other work. */
  async clear(): Promise<void> {
    const files = ['delta.safetensors', 'trained.safetensors', ELASTIC_FILE]
    for (const name of ['submission.json', 'report.json', 'outcome.json', ...files]) {
      await rm(join(this.path, name), { force: true })
    }
  }
}

/** A damaged record is worth no more than none: the work is done again. */
async function readOrForget<T>(path: string, schema: z.ZodType<T>): Promise<T | undefined> {
  return readRecord(path, schema).catch(() => undefined)
}

/**
 * The node's own weights of the newest round before this one: of one that the coordinator did not refuse, since a
 * node that went on from what is refused would only be refused again. Undefined in its first round.
 */
export async function latestOwnWeights(
  directory: NodeDirectory,
  { run, number }: RoundKey,
): Promise<string | undefined> {
  const earlier = (await roundNumbers(directory, run)).filter((other) => other < number)
  for (const other of earlier) {
    const folder = new RoundFolder(directory, { run, number: other })
    const refused = (await folder.readOutcome())?.contribution === 'refused'
    if (!refused && (await lstat(folder.elasticPath).catch(() => undefined))?.isFile() === true) {
      return folder.elasticPath
    }
  }
  return undefined
}

/** Numbers of the rounds of a run that have a folder, newest first. */
async function roundNumbers(directory: NodeDirectory, run: RunId): Promise<number[]> {
  const entries = await readdir(join(directory.roundsPath, run), { withFileTypes: true }).catch(() => [])
  return entries
    .filter((entry) => entry.isDirectory() && /^[1-9][0-9]{0,9}$/.test(entry.name))
    .map(({ name }) => Number(name))
    .sort((a, b) => b - a)
}

/** Forgets the node's own weights of every round of a run. */
export async function forgetOwnWeights(directory: NodeDirectory, run: RunId): Promise<void> {
  for (const number of await roundNumbers(directory, run)) {
    await rm(new RoundFolder(directory, { run, number }).elasticPath, { force: true })
  }
}

/** Deletes the folders of rounds of a run that are older than the newest ones. Never follows a link. */
export async function pruneRounds(directory: NodeDirectory, run: RunId): Promise<void> {
  for (const number of (await roundNumbers(directory, run)).slice(KEPT_ROUNDS)) {
    await rm(join(directory.roundsPath, run, String(number)), { recursive: true, force: true })
  }
}
