import { appendFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import type { Clock } from '../core/clock.ts'
import { TapestryError } from '../core/error.ts'
import type { RoundKey } from '../core/ids.ts'
import type { Exclusions } from '../engine/exclusions.ts'
import { fileError } from '../model/whole-file.ts'
import {
  type LoggedRefusal,
  loggedRefusalSchema,
  type NodePolicy,
  nodePolicySchema,
  type Refusal,
} from '../policy/node-policy.ts'
import type { NodeDirectory } from './node-directory.ts'
import { readIfThere } from './private-file.ts'
import { parseYaml } from './yaml-file.ts'

/** The node's own rules, with the terms of every file they name. */
export type LocalPolicy = { readonly rules: NodePolicy; readonly exclusions: Exclusions }

/** A file of comments alone holds no rule yet. */
const fileSchema = nodePolicySchema.nullable().transform((rules): NodePolicy => rules ?? {})

/** Without a file nothing is limited. @throws TapestryError DATA_INVALID for one that cannot be read in full. */
export async function readPolicy({ root, policyPath }: NodeDirectory): Promise<LocalPolicy> {
  const bytes = await readIfThere(policyPath)
  const rules = bytes === undefined ? {} : parseYaml(bytes.toString('utf8'), fileSchema, policyPath)
  const { paths = [], terms = [], termFiles = [] } = rules.protected ?? {}
  const listed = await Promise.all(termFiles.map((file) => readTerms(resolve(root, file))))
  return { rules, exclusions: { paths: [...paths], terms: [...terms, ...listed.flat()] } }
}

/** A list that is missing protects nothing, so the node does not start without it. */
async function readTerms(path: string): Promise<string[]> {
  const bytes = await readIfThere(path)
  if (bytes === undefined) throw new TapestryError('DATA_INVALID', `${path}, a list of protected terms, is missing`)
  const lines = bytes.toString('utf8').split(/\r\n|\r|\n/)
  return lines.map((line) => line.trim()).filter((line) => line !== '' && !line.startsWith('#'))
}

/** Keeps a refusal where the node's people can find it. @throws TapestryError DISK_FULL */
export async function logRefusal(
  { refusalsPath }: NodeDirectory,
  { run, number }: RoundKey,
  refusal: Refusal,
  clock: Clock,
): Promise<void> {
  const line: LoggedRefusal = { at: new Date(clock.now()).toISOString(), run, round: number, ...refusal }
  try {
    await appendFile(refusalsPath, `${JSON.stringify(line)}\n`, { mode: 0o600 })
  } catch (cause) {
    throw fileError(refusalsPath, cause)
  }
}

/** The latest refusals, newest last. A line that was cut off by a power cut is left out. */
export async function readRefusals({ refusalsPath }: NodeDirectory, most: number): Promise<LoggedRefusal[]> {
  const text = (await readIfThere(refusalsPath))?.toString('utf8') ?? ''
  return text
    .split('\n')
    .filter((line) => line !== '')
    .slice(-most)
    .flatMap((line) => parseLine(line))
}

function parseLine(line: string): LoggedRefusal[] {
  try {
    return [loggedRefusalSchema.parse(JSON.parse(line))]
  } catch {
    return []
  }
}
