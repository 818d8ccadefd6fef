import { z } from 'zod'
import { type CheckpointSummary, ModelService } from '../../gen/proto/tapestry/v1/model_pb.ts'
import { openPublicClient } from '../../participant/public-client.ts'
import { defineCommand, setting } from '../command.ts'
import { runId, wholeNumber } from '../input.ts'
import { formatBytes, formatTime, printable, table } from '../terminal.ts'
import { STRANGER_INPUT, STRANGER_OPTIONS, strangerTrust } from '../trust-input.ts'

export const modelsLs = defineCommand({
  path: 'models ls',
  summary: 'list released checkpoints, newest first, and the channels that point to them',
  options: [
    ...STRANGER_OPTIONS(),
    setting('--run <run>', 'only this run'),
    setting('--limit <n>', 'at most this many, 1 to 1000 (100)'),
  ],
  input: z.object({ ...STRANGER_INPUT, run: runId.optional(), limit: wholeNumber(1, 1000).optional() }),
  async run({ from, run, limit, ...trust }, { env }) {
    const client = await openPublicClient(from, strangerTrust(trust, env))
    try {
      const request = { run: run ?? '', limit: limit ?? 0 }
      const { checkpoints } = await client.call(ModelService.method.listCheckpoints, request)
      return { json: checkpoints.map(checkpointJson), text: checkpointsTable(checkpoints) }
    } finally {
      client.close()
    }
  },
})

function checkpointJson({ digest, run, version, round, bytes, createdMs, channels, superseded }: CheckpointSummary) {
  return { digest, run, version, round, bytes: Number(bytes), createdMs: Number(createdMs), channels, superseded }
}

function checkpointsTable(checkpoints: readonly CheckpointSummary[]): string {
  return table(
    [
      { title: 'CHECKPOINT' },
      { title: 'CHANNELS' },
      { title: 'ROUND', align: 'right' },
      { title: 'SIZE', align: 'right' },
      { title: 'RELEASED' },
      { title: 'DIGEST' },
    ],
    checkpoints.map(({ digest, run, version, round, bytes, createdMs, channels, superseded }) => [
      printable(`${run}@${version}`),
      superseded ? '(superseded)' : printable(channels.join(', ')) || '-',
      String(round),
      formatBytes(Number(bytes)),
      formatTime(Number(createdMs)),
      printable(digest),
    ]),
  )
}
