import { join, resolve } from 'node:path'
import { z } from 'zod'
import { TapestryError } from '../../core/error.ts'
import { writeArchive } from '../../ledger/archive.ts'
import { type ProvedExit, verifyExit, writeExit } from '../../participant/exit-archive.ts'
import { fetchCheckpoint, fetchEntries, logOfFederation } from '../../participant/federation-log.ts'
import { type NodeDirectory, openNodeDirectory, requireMembership } from '../../participant/node-directory.ts'
import { openPublicClient } from '../../participant/public-client.ts'
import { isPassing } from '../../participant/retry.ts'
import { defineCommand, flag, setting } from '../command.ts'
import { defaultNodeDirectory } from '../directories.ts'
import { federationId } from '../input.ts'
import { counted } from '../terminal.ts'

export const nodeExport = defineCommand({
  path: 'node export',
  summary: "write this node's whole audit trail into a directory that anybody can check, or check one",
  arguments: [
    { name: '<directory>', description: 'where it goes, or what is checked; an older export in it is extended' },
  ],
  options: [
    setting('--dir <directory>', 'where the node keeps its keys and rounds'),
    flag('--verify', 'check the directory instead: needs no node and no network'),
    setting('--trust <federation>', 'with --verify: the federation that it must come from, sha256:<64 hex>'),
  ],
  input: z.object({
    directory: z.string(),
    dir: z.string().optional(),
    verify: z.boolean().default(false),
    trust: federationId.optional(),
  }),
  notes:
    'Everything the node signed, its chain of keys, its receipts, and the log with every weight that was decided about it.\n' +
    'Without a connection the log is left out. The checkpoints themselves: tapestry pull. --verify exits with 5 when anything does not hold.',
  async run({ directory: target, dir, verify, trust }, { env, output }) {
    if (verify) {
      if (trust === undefined) throw new TapestryError('INVALID_ARGUMENT', '--verify needs --trust')
      return proved(await verifyExit(resolve(target), trust))
    }
    const directory = await openNodeDirectory(dir ?? defaultNodeDirectory(env))
    await writeExit(directory, resolve(target))
    const { federation } = await requireMembership(directory)
    const size = await exportLog(directory, join(resolve(target), 'log')).catch((error) => {
      if (!isPassing(error)) throw error
      output.note('no connection: the log is left out; run this again to add it')
      return null
    })
    const parts = size === null ? '' : `, and the log's ${counted(size, 'entry', 'entries')}`
    const written = `written to ${resolve(target)}: what this node signed, its keys' history, its receipts${parts}`
    return {
      json: { directory: resolve(target), federation, log: size === null ? null : { size } },
      text: `${written}\ncheck it, with no node and no network: tapestry node export --verify ${resolve(target)} --trust ${federation}`,
    }
  },
})

/** @returns how many entries the log has. */
async function exportLog(directory: NodeDirectory, target: string): Promise<number> {
  const { address, federation } = await requireMembership(directory)
  const client = await openPublicClient(address, { federation })
  try {
    const log = logOfFederation(client)
    const { note, head } = await fetchCheckpoint(client, log)
    await writeArchive(target, { ...log, checkpoint: note }, (start) => fetchEntries(client, start))
    return head.size
  } finally {
    client.close()
  }
}

function proved(exit: ProvedExit) {
  const { node, member, documents, keyChanges, receipts, log } = exit
  const lines = [
    `${node} of ${member}: ${counted(documents, 'document')} signed by its keys (changed ${counted(keyChanges, 'time')}), ${counted(receipts, 'receipt')}`,
    log === null
      ? 'without the log: what is here holds, but nothing proves that it is everything'
      : `all that the log of ${counted(log.size, 'entry', 'entries')} names of this node is here`,
    ...(log?.weights ?? []).map(
      ({ contribution, weight, reason }) => `${contribution}: weight ${weight.toFixed(4)}: ${reason}`,
    ),
  ]
  const weights = log?.weights.map((one) => ({ ...one })) ?? []
  return {
    json: { verified: true, node, member, documents, keyChanges, receipts, log: log && { size: log.size, weights } },
    text: lines.join('\n'),
  }
}
