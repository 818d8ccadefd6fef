import { z } from 'zod'
import { fetchCheckpoint, logOfFederation } from '../../participant/federation-log.ts'
import { openPublicClient } from '../../participant/public-client.ts'
import { defineCommand } from '../command.ts'
import { STRANGER_INPUT, STRANGER_OPTIONS, strangerTrust } from '../trust-input.ts'

export const logCheckpoint = defineCommand({
  path: 'log checkpoint',
  summary: 'show the signed state of the log: everything that the federation has recorded, in one hash',
  options: STRANGER_OPTIONS(),
  input: z.object(STRANGER_INPUT),
  async run({ from, ...trust }, { env }) {
    const client = await openPublicClient(from, strangerTrust(trust, env))
    try {
      const log = logOfFederation(client)
      const { note, head } = await fetchCheckpoint(client, log)
      const root = Buffer.from(head.root).toString('base64')
      return {
        json: { origin: log.verifier.name, size: head.size, root, checkpoint: note },
        text: note.trimEnd(),
      }
    } finally {
      client.close()
    }
  },
})
