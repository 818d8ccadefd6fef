import { z } from 'zod'
import { RoundService } from '../../gen/proto/tapestry/v1/round_pb.ts'
import { choiceWord } from '../choice-view.ts'
import { defineCommand } from '../command.ts'
import { diagnosticsTable } from '../diagnostics-view.ts'
import { heatMap } from '../heat-map.ts'
import { verdictsTable, weightsTable } from '../influence-view.ts'
import { roundKey } from '../input.ts'
import { OPERATOR_INPUT, OPERATOR_OPTIONS, withOperator } from '../operator-client.ts'
import { overrideText } from '../override-view.ts'
import { codecText, contributionsTable, inspectionJson, languagesTable, roundsTable } from '../round-view.ts'
import { printable } from '../terminal.ts'

export const roundInspect = defineCommand({
  path: 'round inspect',
  summary: 'show one round: who contributed what, with which weight, and what came of it',
  arguments: [{ name: '<round>', description: 'run/number, such as demo/3' }],
  options: OPERATOR_OPTIONS(),
  input: z.object({ ...OPERATOR_INPUT, round: roundKey }),
  async run({ round: ref, ...access }, { env, output }) {
    const response = await withOperator(access, env, (client) => client.call(RoundService.method.getRound, { ref }))
    const { round, contributions, languages, communities, diagnostics } = response
    const weighed = contributions.filter(({ weightReason }) => weightReason !== '')
    const judged = [...languages, ...communities].filter(({ verdict }) => verdict !== '')
    const names = new Map(contributions.map(({ node, nodeName }) => [node, nodeName]))
    const codec = codecText(response)
    const map = diagnostics && heatMap(diagnostics, names, output.dataTerminal)
    const { override } = response
    const parts = [
      ...(round === undefined ? [] : [roundsTable([round])]),
      ...(round?.strategy ? [`strategy: ${choiceWord(round.strategy)}`] : []),
      ...(codec === undefined ? [] : [codec]),
      ...(round?.reason ? [`reason: ${printable(round.reason)}`] : []),
      ...(contributions.length > 0 ? [contributionsTable(contributions, diagnostics)] : []),
      ...(weighed.length > 0 ? [weightsTable(weighed)] : []),
      ...(diagnostics ? [diagnosticsTable(diagnostics, names)] : []),
      ...(map ? [map] : []),
      ...(languages.length > 0 ? [languagesTable(languages)] : []),
      ...(judged.length > 0 ? [verdictsTable(judged)] : []),
      ...(override ? [overrideText(override)] : []),
    ]
    return { json: inspectionJson(response), text: parts.join('\n\n') }
  },
})
