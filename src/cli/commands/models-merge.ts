import { stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import { z } from 'zod'
import { type MergedCheckpoint, mergeCheckpoints } from '../../aggregation/model-merging/merge-checkpoints.ts'
import { MERGING_NAMES, mergingText } from '../../core/model-merging.ts'
import { digestOfFile } from '../../participant/file-digest.ts'
import { byteProgress } from '../byte-progress.ts'
import { defineCommand, flag } from '../command.ts'
import { merging } from '../input.ts'
import { requireNamedDirectory } from '../named-file.ts'
import { pullDirectory } from '../pull-directory.ts'
import { TRUST_ROOT_INPUT, TRUST_ROOT_OPTIONS, trustRoot } from '../trust-root.ts'

export const modelsMerge = defineCommand({
  path: 'models merge',
  summary: 'merge specialised checkpoints that were pulled into one model, offline and without training',
  arguments: [{ name: '<models...>', description: 'directories of checkpoints, or what was given to pull' }],
  options: [
    flag('--base <model>', 'the checkpoint that the others were specialised from').makeOptionMandatory(),
    flag('--strategy <name:parameter=n,...>', `one of ${MERGING_NAMES.join(', ')}`).makeOptionMandatory(),
    flag('--out <directory>', 'where the merged model goes').makeOptionMandatory(),
    ...TRUST_ROOT_OPTIONS(),
  ],
  input: z.object({
    ...TRUST_ROOT_INPUT,
    models: z.array(z.string()).min(1),
    base: z.string(),
    strategy: merging,
    out: z.string(),
  }),
  notes: [
    'ties:density=0.2 keeps the largest changes of each model and settles their signs; dare:rate=0.9,seed=1 drops',
    'changes at random and rescales the others; slerp:t=0.5 goes along the arc between two models. The result is',
    'not signed. Exits with 5 when a checkpoint is not what its federation released.',
  ].join('\n'),
  async run({ models, base, strategy, out, ...trust }, { output, clock, stopSignal }) {
    const root = await trustRoot(trust)
    const [first = '', ...others] = await Promise.all([base, ...models].map(pulledDirectory))
    const verifying = byteProgress(output, 'verifying', () => clock.now())
    const merge = byteProgress(output, 'merging', () => clock.now())
    const made = await mergeCheckpoints({
      base: first,
      models: others,
      merging: strategy,
      trust: root,
      out: resolve(out),
      digestOf: digestOfFile,
      signal: stopSignal(),
      onVerify: verifying.report,
      onMerge: (done, total) => {
        verifying.close()
        merge.report(done, total)
      },
    }).finally(() => {
      verifying.close()
      merge.close()
    })
    return { json: mergeJson(made, resolve(out)), text: mergeText(made, resolve(out)) }
  },
})

/** A directory as it is named, or where `tapestry pull` put what is named. @throws TapestryError NOT_FOUND */
async function pulledDirectory(name: string): Promise<string> {
  const there = (await stat(name).catch(() => undefined))?.isDirectory() === true
  const directory = there ? resolve(name) : pullDirectory(name)
  await requireNamedDirectory(directory)
  return directory
}

function mergeJson({ record, digest, merged }: MergedCheckpoint, directory: string) {
  const { strategy, base, models, files } = record
  const parts = {
    base: { ...base },
    models: models.map((one) => ({ ...one })),
    files: files.map((one) => ({ ...one })),
  }
  const chosen = { name: strategy.name, parameters: { ...strategy.parameters } }
  return { merged: true, signed: false, digest, strategy: chosen, deltaNorm: merged.deltaNorm, directory, ...parts }
}

function mergeText({ record, digest, merged }: MergedCheckpoint, directory: string): string {
  const names = record.models.map(({ run, version }) => `${run}@${version}`).join(', ')
  const { run, version } = record.base
  return [
    `${mergingText(record.strategy)} of ${names} around ${run}@${version}; change of norm ${merged.deltaNorm.toPrecision(4)}`,
    `not signed: ${digest} names what it is made of`,
    `in ${directory}`,
  ].join('\n')
}
