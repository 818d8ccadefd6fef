import type { Context } from '../context.ts'
import { signatureMessage } from './message.ts'

/** Who may override, as it stands. */
export async function getOperators({ store }: Context) {
  const row = await store.reader.operatorRecord()
  if (row === undefined) return {}
  return { record: Buffer.from(row.record, 'utf8'), signature: signatureMessage(row.signature) }
}
