import { z } from 'zod'
import { readDataset, termsText } from '../../participant/dataset-file.ts'
import { openNodeDirectory } from '../../participant/node-directory.ts'
import { defineCommand, setting } from '../command.ts'
import { datasetJson, stateOf } from '../dataset-view.ts'
import { defaultNodeDirectory } from '../directories.ts'
import { recordId } from '../input.ts'

export const datasetShow = defineCommand({
  path: 'dataset show',
  summary: 'show one dataset as it is declared; needs no network',
  arguments: [{ name: '<id>', description: 'the dataset' }],
  options: [setting('--dir <directory>', 'where the node keeps its keys and rounds')],
  input: z.object({ id: recordId, dir: z.string().optional() }),
  async run({ id, dir }, { env }) {
    const directory = await openNodeDirectory(dir ?? defaultNodeDirectory(env))
    const dataset = await readDataset(directory, id)
    const { sources } = await directory.read()
    const json = datasetJson(dataset, sources)
    const facts = [`# ${dataset.path}: ${stateOf(dataset)}`, ...json.texts.map((path) => `# text: ${path}`)]
    const digest = json.registered === null ? [] : [`# record: ${json.registered.digest}`]
    return { json, text: [...facts, ...digest, termsText(dataset.terms).trimEnd()].join('\n') }
  },
})
