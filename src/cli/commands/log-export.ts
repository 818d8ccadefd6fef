import { resolve } from 'node:path'
import { z } from 'zod'
import { writeArchive } from '../../ledger/archive.ts'
import { fetchCheckpoint, fetchEntries, logOfFederation } from '../../participant/federation-log.ts'
import { openPublicClient } from '../../participant/public-client.ts'
import { defineCommand } from '../command.ts'
import { STRANGER_INPUT, STRANGER_OPTIONS, strangerTrust } from '../trust-input.ts'

export const logExport = defineCommand({
  path: 'log export',
  summary: 'fetch the whole log into a directory that can be checked without the coordinator, and without this program',
  arguments: [{ name: '<directory>', description: 'where the log goes; an older export in it is extended' }],
  options: STRANGER_OPTIONS(),
  input: z.object({ ...STRANGER_INPUT, directory: z.string() }),
  async run({ directory, from, ...trust }, { env, output }) {
    const target = resolve(directory)
    const client = await openPublicClient(from, strangerTrust(trust, env))
    try {
      const log = logOfFederation(client)
      const { note, head } = await fetchCheckpoint(client, log)
      output.note(`fetching ${head.size} entries`)
      await writeArchive(target, { ...log, checkpoint: note }, (start) => fetchEntries(client, start))
      const { id } = client.federation.record
      const root = Buffer.from(head.root).toString('base64')
      return {
        json: { federation: id, directory: target, size: head.size, root },
        text: `${head.size} entries in ${target}\ncheck them: tapestry log verify ${target} --trust ${id}`,
      }
    } finally {
      client.close()
    }
  },
})
