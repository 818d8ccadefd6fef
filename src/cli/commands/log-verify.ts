import { stat } from 'node:fs/promises'
import { z } from 'zod'
import { verifyArchive } from '../../ledger/archive.ts'
import { verifyReceiptFile } from '../../ledger/receipt.ts'
import { defineCommand, setting } from '../command.ts'
import { federationId } from '../input.ts'
import { readNamedFile } from '../named-file.ts'
import { printable } from '../terminal.ts'

export const logVerify = defineCommand({
  path: 'log verify',
  summary: 'prove offline that an exported log, or a receipt, is what the federation signed',
  arguments: [{ name: '<path>', description: 'the directory of an export, or the file of a receipt' }],
  options: [setting('--trust <federation>', 'the federation it must come from, sha256:<64 hex>').makeOptionMandatory()],
  input: z.object({ path: z.string(), trust: federationId }),
  notes: 'Exits with 5 when anything does not hold.',
  async run({ path, trust }) {
    const found = await stat(path).catch(() => undefined)
    return found?.isDirectory() === true ? verifyExport(path, trust) : verifyReceipt(path, trust)
  },
})

async function verifyExport(path: string, federation: string) {
  const { size, root: hash } = await verifyArchive(path, federation)
  const root = Buffer.from(hash).toString('base64')
  return {
    json: { verified: true, what: 'export', federation, size, root },
    text: `all ${size} entries, and every tile, are what federation ${federation} signed\nroot ${root}`,
  }
}

async function verifyReceipt(path: string, federation: string) {
  const { receipt, head } = verifyReceiptFile(await readNamedFile(path), federation)
  const entry = Buffer.from(receipt.entry).toString('utf8')
  return {
    json: { verified: true, what: 'receipt', federation, index: receipt.index, size: head.size, entry },
    text: `entry ${receipt.index} of ${head.size} in the log of federation ${federation}\n${printable(entry)}`,
  }
}
