import { z } from 'zod'
import { skipRound } from '../../participant/stand-aside.ts'
import { defineCommand, setting } from '../command.ts'
import { roundKey } from '../input.ts'
import { withNode } from '../node-access.ts'

export const nodeSkip = defineCommand({
  path: 'node skip',
  summary: 'take no part in a round, or no further one: the others do not wait',
  arguments: [{ name: '<round>', description: 'run/number, such as swahili/12; it need not have begun' }],
  options: [setting('--dir <directory>', 'where the node keeps its keys and rounds')],
  input: z.object({ round: roundKey, dir: z.string().optional() }),
  notes: 'What was contributed to it before stays. A node that runs follows within a second.',
  async run({ round, dir }, io) {
    const told = await withNode(dir, io, (directory, client) => skipRound(directory, client, round))
    const place = `${round.run}/${round.number}`
    const how = told
      ? 'the coordinator knows'
      : 'the coordinator learns it when the node runs, if the round waits for it'
    return { json: { run: round.run, round: round.number, told }, text: `takes no part in ${place}: ${how}` }
  },
})
