import { z } from 'zod'
import { setPaused } from '../../participant/stand-aside.ts'
import { defineCommand, type Io, setting } from '../command.ts'
import { withNode } from '../node-access.ts'

const options = () => [setting('--dir <directory>', 'where the node keeps its keys and rounds')]
const input = z.object({ dir: z.string().optional() })

export const nodePause = defineCommand({
  path: 'node pause',
  summary: 'take no part in anything until "node resume"; the coordinator is told',
  options: options(),
  input,
  notes:
    'What was contributed stays, and rounds under way do not wait. A node that runs goes on running, and does nothing.',
  run: ({ dir }, io) => stand(dir, io, true),
})

export const nodeResume = defineCommand({
  path: 'node resume',
  summary: 'take part again, from the next round on',
  options: options(),
  input,
  run: ({ dir }, io) => stand(dir, io, false),
})

async function stand(dir: string | undefined, io: Io, paused: boolean) {
  const told = await withNode(dir, io, (directory, client) => setPaused(directory, client, paused))
  const how = told ? 'the coordinator knows' : 'the coordinator learns it when the node runs'
  return { json: { paused, told }, text: `${paused ? 'paused' : 'takes part again'}: ${how}` }
}
