import { z } from 'zod'
import { readDatasets } from '../../participant/dataset-file.ts'
import { openNodeDirectory } from '../../participant/node-directory.ts'
import { defineCommand, setting } from '../command.ts'
import { datasetJson, datasetsTable } from '../dataset-view.ts'
import { defaultNodeDirectory } from '../directories.ts'

export const datasetLs = defineCommand({
  path: 'dataset ls',
  summary: 'list what this node has declared about its data; needs no network',
  options: [setting('--dir <directory>', 'where the node keeps its keys and rounds')],
  input: z.object({ dir: z.string().optional() }),
  async run({ dir }, { env }) {
    const directory = await openNodeDirectory(dir ?? defaultNodeDirectory(env))
    const datasets = await readDatasets(directory)
    const { sources } = await directory.read()
    const undeclared = sources.filter(({ record }) => record === undefined).map(({ path }) => path)
    const rest = undeclared.length === 0 ? '' : `\nwithout a record: ${undeclared.join(', ')}`
    return {
      json: { datasets: datasets.map((dataset) => datasetJson(dataset, sources)), undeclared },
      text: `${datasetsTable(datasets, sources)}${rest}`,
    }
  },
})
