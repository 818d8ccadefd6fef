import { z } from 'zod'
import { digestOf, ensureDigest } from '../../core/digest.ts'
import { TapestryError } from '../../core/error.ts'
import { OperatorService } from '../../gen/proto/tapestry/v1/operator_pb.ts'
import { RoundPhase, RoundService } from '../../gen/proto/tapestry/v1/round_pb.ts'
import { signOverride } from '../../model/override.ts'
import { received, signatureMessage } from '../../participant/wire.ts'
import { defineCommand, flag } from '../command.ts'
import { roundKey } from '../input.ts'
import { OPERATOR_INPUT, OPERATOR_OPTIONS, readAuthority, withOperator } from '../operator-client.ts'
import { ownFederation, readSigningKey } from '../operator-record-client.ts'
import { overrideJson, overrideText } from '../override-view.ts'
import { phaseName } from '../round-view.ts'

export const roundOverride = defineCommand({
  path: 'round override',
  summary: 'sign that a candidate which the gate blocked is released; it is, when enough operators have signed',
  arguments: [{ name: '<round>', description: 'run/number, such as demo/3' }],
  options: [
    ...OPERATOR_OPTIONS(),
    flag('--reason <text>', 'why: everybody who downloads the checkpoint reads it').makeOptionMandatory(),
    flag('--key <file>', 'your private key (tapestry operator key)').makeOptionMandatory(),
  ],
  input: z.object({ ...OPERATOR_INPUT, round: roundKey, reason: z.string(), key: z.string() }),
  notes: 'First look at what the gate found: tapestry round inspect. A signature counts for three days.',
  async run({ round: ref, reason, key, ...access }, { env }) {
    const { id: federation } = ownFederation(await readAuthority(access, env))
    const signingKey = await readSigningKey(key)
    const override = await withOperator(access, env, async (channel) => {
      const { round, gate } = await channel.call(RoundService.method.getRound, { ref })
      if (round?.phase !== RoundPhase.REJECTED) throw notRejected(ref.number, phaseName(round?.phase ?? 0))
      const candidate = received(ensureDigest, round.candidateDigest)
      const subject = { federation, run: ref.run, round: ref.number, candidate, gate: digestOf(gate) }
      const { statement, signature } = signOverride(subject, reason, signingKey)
      const signed = { statement: Buffer.from(statement, 'utf8'), signature: signatureMessage(signature) }
      return (await channel.call(OperatorService.method.overrideRound, signed)).override
    })
    return override && { json: overrideJson(override), text: overrideText(override) }
  },
})

function notRejected(number: number, phase: string): TapestryError {
  return new TapestryError('FAILED_PRECONDITION', `round ${number} is ${phase}: there is nothing to override`)
}
