import { z } from 'zod'
import type { Json } from '../../core/canonical-json.ts'
import { TapestryError } from '../../core/error.ts'
import { privateKeyFromPem } from '../../core/signature.ts'
import { openNodeClient } from '../../participant/client.ts'
import { type Dataset, readDataset, readDatasets } from '../../participant/dataset-file.ts'
import { type Declarant, tellWithdrawal, withdraw } from '../../participant/declare.ts'
import { openNodeDirectory, requireKey, requireMembership } from '../../participant/node-directory.ts'
import { readPolicy } from '../../participant/policy-file.ts'
import { estimateRevocation, type RevocationWish, requestRevocation } from '../../participant/revocations.ts'
import { restsOn } from '../../policy/admission.ts'
import { dayOf } from '../../policy/day.ts'
import { defineCommand, flag, setting } from '../command.ts'
import { defaultNodeDirectory } from '../directories.ts'
import { recordId } from '../input.ts'
import { MODE_INPUT, modeOption } from '../revocation-request.ts'
import { estimateText, revocationJson, revocationsTable } from '../revocation-view.ts'

const REMAINS =
  'What was merged before is not undone by this: published checkpoints keep what they learned until it is revoked (--revoke).'

export const datasetWithdraw = defineCommand({
  path: 'dataset withdraw',
  summary: 'take back the consent for a dataset: signed, sent to the coordinator, for good',
  arguments: [{ name: '<id>', description: 'the dataset' }],
  options: [
    setting('--dir <directory>', 'where the node keeps its keys and rounds'),
    flag('--yes', 'do it: without this nothing is changed'),
    flag('--revoke', 'also take back every contribution that was trained on it'),
    modeOption(),
  ],
  input: z.object({
    id: recordId,
    dir: z.string().optional(),
    yes: z.boolean().default(false),
    revoke: z.boolean().default(false),
    ...MODE_INPUT,
  }),
  notes: REMAINS,
  async run({ id, dir, yes, revoke, mode }, { env, clock, output }) {
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
      const taken = told ? await takeBack(node, id, { revoke, mode }) : NOTHING_TAKEN_BACK
      return {
        json: { id, withdrawn: true, told, others, ...taken.json },
        text: `dataset ${id} is withdrawn: ${how}${also}\n${taken.text}`,
      }
    } finally {
      client.close()
    }
  },
})

const NOTHING_TAKEN_BACK: Taken = { json: { contributions: [], revocations: [] }, text: REMAINS }

type Taken = {
  readonly json: { readonly contributions: readonly string[]; readonly revocations: readonly Json[] }
  readonly text: string
}

/** Names the contributions that were trained on the dataset, and revokes them where that is wanted. */
async function takeBack(
  { client }: Declarant,
  id: string,
  { revoke, mode }: { readonly revoke: boolean; readonly mode: RevocationWish['mode'] },
): Promise<Taken> {
  const subject = { case: 'dataset', value: { node: client.membership.node, id } } as const
  const wish = { subject, mode, reason: 'consent was withdrawn' }
  const estimates = await estimateRevocation(client, wish)
  const contributions = estimates.flatMap((estimate) => estimate.contributions)
  if (estimates.length === 0) return { json: { contributions, revocations: [] }, text: 'nothing was merged from it' }
  const costs = estimates.map(estimateText).join('\n')
  if (!revoke) return { json: { contributions, revocations: [] }, text: `${REMAINS}\nWith --revoke:\n${costs}` }
  const revocations = await requestRevocation(client, wish)
  return { json: { contributions, revocations: revocations.map(revocationJson) }, text: revocationsTable(revocations) }
}

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
