import { z } from 'zod'
import { TapestryError } from '../../core/error.ts'
import { privateKeyFromPem } from '../../core/signature.ts'
import { openNodeClient } from '../../participant/client.ts'
import { type Dataset, readDataset, readDatasets } from '../../participant/dataset-file.ts'
import { type Declarant, tellWithdrawal, withdraw } from '../../participant/declare.ts'
import { openNodeDirectory, requireKey, requireMembership } from '../../participant/node-directory.ts'
import { readPolicy } from '../../participant/policy-file.ts'
import { restsOn } from '../../policy/admission.ts'
import { dayOf } from '../../policy/day.ts'
import { defineCommand, flag, setting } from '../command.ts'
import { defaultNodeDirectory } from '../directories.ts'
import { recordId } from '../input.ts'

const REMAINS =
  'What was merged before is not undone by this: published checkpoints keep what they learned until they are revoked.'

export const datasetWithdraw = defineCommand({
  path: 'dataset withdraw',
  summary: 'take back the consent for a dataset: signed, sent to the coordinator, for good',
  arguments: [{ name: '<id>', description: 'the dataset' }],
  options: [
    setting('--dir <directory>', 'where the node keeps its keys and rounds'),
    flag('--yes', 'do it: without this nothing is changed'),
  ],
  input: z.object({ id: recordId, dir: z.string().optional(), yes: z.boolean().default(false) }),
  notes: REMAINS,
  async run({ id, dir, yes }, { env, clock, output }) {
    const directory = await openNodeDirectory(dir ?? defaultNodeDirectory(env))
    const dataset = await readDataset(directory, id)
    if (!yes) {
      throw new TapestryError('INVALID_ARGUMENT', `withdrawing "${id}" cannot be taken back`, { hint: 'add --yes' })
    }
    await requireMembership(directory)
    const client = await openNodeClient(directory, clock)
    try {
      const nodeKey = privateKeyFromPem(await requireKey(directory, 'node.key'))
      const node: Declarant = { directory, client, nodeKey, policy: await readPolicy(directory) }
      if (dataset.withdrawal === undefined) await withdraw(node, dataset, dayOf(clock.now()))
      const told = await tell(node, id, (message) => output.note(message))
      const how = told ? 'the coordinator refuses it from now on' : 'the coordinator is told when the node runs next'
      const others = await fallingWith(node, dataset)
      const also = others.length === 0 ? '' : `\nresting on the same evidence, refused with it: ${others.join(', ')}`
      return {
        json: { id, withdrawn: true, told, others },
        text: `dataset ${id} is withdrawn: ${how}${also}\n${REMAINS}`,
      }
    } finally {
      client.close()
    }
  },
})

/** Other datasets of this node whose consent was the same paper. */
async function fallingWith({ directory }: Declarant, { terms }: Dataset): Promise<string[]> {
  const others = (await readDatasets(directory)).filter((other) => other.terms.id !== terms.id)
  return others.filter((other) => restsOn(other.terms.consent, terms.consent.evidence)).map((other) => other.terms.id)
}

/** A coordinator that cannot be reached does not keep a consent alive: the node itself stops using the data at once. */
async function tell(node: Declarant, id: Parameters<typeof readDataset>[1], note: (text: string) => void) {
  const dataset = await readDataset(node.directory, id)
  // A record that was never sent is in no contribution: there is nothing to be refused.
  if (dataset.record === undefined) return false
  try {
    await tellWithdrawal(node, dataset)
    return true
  } catch (error) {
    if (!(error instanceof TapestryError) || error.code !== 'UNAVAILABLE') throw error
    note(`no connection (${error.message})`)
    return false
  }
}
