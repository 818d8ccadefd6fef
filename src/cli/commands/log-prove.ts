import { resolve } from 'node:path'
import { z } from 'zod'
import { receiptFile } from '../../ledger/receipt.ts'
import { writeWhole } from '../../model/whole-file.ts'
import { fetchReceipt, logOfFederation } from '../../participant/federation-log.ts'
import { openPublicClient } from '../../participant/public-client.ts'
import { defineCommand, setting } from '../command.ts'
import { STRANGER_INPUT, STRANGER_OPTIONS, strangerTrust } from '../trust-input.ts'

export const logProve = defineCommand({
  path: 'log prove',
  summary: 'fetch a receipt: the proof that the log records a contribution, a checkpoint or a node',
  arguments: [
    { name: '<ref>', description: "a contribution's id, a checkpoint's digest, a node's id, or the index of an entry" },
  ],
  options: [...STRANGER_OPTIONS(), setting('--output <file>', 'where the receipt goes (stdout)')],
  input: z.object({ ...STRANGER_INPUT, ref: z.string(), output: z.string().optional() }),
  notes: 'tapestry log verify proves the receipt again, offline.',
  async run({ ref, from, output: path, ...trust }, { env }) {
    const client = await openPublicClient(from, strangerTrust(trust, env))
    try {
      const log = logOfFederation(client)
      const { receipt, head } = await fetchReceipt(client, log, ref)
      const file = receiptFile(log.credentials, receipt)
      const text = `${JSON.stringify(file, null, 2)}\n`
      if (path === undefined) return { json: file, text: text.trimEnd() }
      const target = resolve(path)
      await writeWhole(target, [Buffer.from(text, 'utf8')])
      return {
        json: { index: receipt.index, size: head.size, file: target },
        text: `entry ${receipt.index} of ${head.size}, proved\nreceipt in ${target}`,
      }
    } finally {
      client.close()
    }
  },
})
