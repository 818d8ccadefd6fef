import { z } from 'zod'
import { defineCommand, setting } from '../command.ts'
import { defaultNodeDirectory } from '../directories.ts'
import { communityPairs } from '../input.ts'
import { initNode } from '../node-setup.ts'

export const nodeInit = defineCommand({
  path: 'node init',
  summary: 'make a node: its directory and the text it will train on',
  options: [
    setting(
      '--data <directory>',
      'folder of <BCP-47>.txt or <BCP-47>/*.txt; it stays where it is',
    ).makeOptionMandatory(),
    setting('--dir <directory>', 'where the node keeps its keys and rounds'),
    setting('--name <name>', 'the name that others see (the host name)'),
    setting('--community <tag=name...>', 'community that the text in a language belongs to'),
  ],
  input: z.object({
    data: z.string(),
    dir: z.string().optional(),
    name: z.string().optional(),
    community: communityPairs.default([]),
  }),
  async run({ dir, data, name, community }, { env }) {
    const root = dir ?? defaultNodeDirectory(env)
    const directory = await initNode({ root, data, name, communities: community })
    const record = await directory.read()
    const languages = record.sources.map((source) => source.language)
    return {
      json: { directory: root, name: record.name, languages },
      text: `node ${record.name} in ${root} holds text in ${languages.join(', ')}\njoin a federation: tapestry node join --dir ${root}`,
    }
  },
})
