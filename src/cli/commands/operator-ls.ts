import { z } from 'zod'
import type { OperatorRecord } from '../../model/operator-record.ts'
import { defineCommand } from '../command.ts'
import { OPERATOR_INPUT, OPERATOR_OPTIONS, readAuthority, withOperator } from '../operator-client.ts'
import { fetchOperatorRecord, ownFederation } from '../operator-record-client.ts'
import { printable, table } from '../terminal.ts'

export const operatorLs = defineCommand({
  path: 'operator ls',
  summary: 'who may override the release gate, and how many of them it takes',
  options: OPERATOR_OPTIONS(),
  input: z.object(OPERATOR_INPUT),
  async run(access, { env }) {
    const federation = ownFederation(await readAuthority(access, env))
    const found = await withOperator(access, env, (channel) => fetchOperatorRecord(channel, federation))
    if (found === undefined) return { json: null, text: 'nobody: the gate cannot be overridden' }
    const { version, threshold, operators } = found.record
    return {
      json: { ...found.record, operators: [...operators] },
      text: `${said(version, threshold)}\n${listed(operators)}`,
    }
  },
})

const said = (version: number, threshold: number) => `record ${version}: it takes ${threshold} of`

function listed(operators: OperatorRecord['operators']): string {
  return table(
    [{ title: 'OPERATOR' }, { title: 'KEY' }],
    operators.map(({ name, keyId }) => [printable(name), keyId]),
  )
}
