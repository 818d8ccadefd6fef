import { z } from 'zod'
import { digestOf } from '../../core/digest.ts'
import { TapestryError } from '../../core/error.ts'
import { DOMAINS, signMessage } from '../../core/signature.ts'
import { OperatorService } from '../../gen/proto/tapestry/v1/operator_pb.ts'
import { operatorRecordBytes } from '../../model/operator-record.ts'
import { signatureMessage } from '../../participant/wire.ts'
import { defineCommand, flag } from '../command.ts'
import { operatorFiles, wholeNumber } from '../input.ts'
import { readNamedFile } from '../named-file.ts'
import { OPERATOR_INPUT, OPERATOR_OPTIONS, readAuthority, withOperator } from '../operator-client.ts'
import { fetchOperatorRecord, ownFederation, readSigningKey } from '../operator-record-client.ts'

/** A private key has no business in this command: whoever holds it would have to trust it not to travel. */
async function readPublicKey(name: string, file: string): Promise<string> {
  const text = await readNamedFile(file)
  if (!text.includes('PRIVATE KEY')) return text
  throw new TapestryError('INVALID_ARGUMENT', `${file} is the private key of ${name}: nothing was sent`, {
    hint: `name its public half, which tapestry operator key wrote to ${file}.pub`,
  })
}

export const operatorSet = defineCommand({
  path: 'operator set',
  summary: 'set who may override the release gate together; a change takes the signatures of those who may now',
  options: [
    ...OPERATOR_OPTIONS(),
    flag('--threshold <m>', 'how many of them it takes').makeOptionMandatory(),
    flag('--operator <name=file...>', 'an office and its public key, for each of them').makeOptionMandatory(),
    flag('--key <file>', 'your private key, where operators are set already'),
  ],
  input: z.object({
    ...OPERATOR_INPUT,
    threshold: wholeNumber(1, 100),
    operator: operatorFiles,
    key: z.string().optional(),
  }),
  notes:
    'Each of those who may now gives the same command with a key of their own; the change stands with the last one needed.',
  async run({ threshold, operator, key, ...access }, { env }) {
    const federation = ownFederation(await readAuthority(access, env))
    const keys = await Promise.all(
      operator.map(async ({ name, file }) => ({ name, publicKey: await readPublicKey(name, file) })),
    )
    const signingKey = key === undefined ? undefined : await readSigningKey(key)
    const answer = await withOperator(access, env, async (channel) => {
      const present = await fetchOperatorRecord(channel, federation)
      if (present !== undefined && signingKey === undefined) {
        throw new TapestryError('INVALID_ARGUMENT', 'operators are set already: a change takes their signatures', {
          hint: 'sign with --key FILE; tapestry operator ls shows whose keys count',
        })
      }
      const previous = present === undefined ? null : digestOf(present.text)
      const version = (present?.record.version ?? 0) + 1
      const record = operatorRecordBytes({ federation: federation.id, version, previous, threshold }, keys)
      const signature = signingKey && signatureMessage(signMessage(signingKey, DOMAINS.operators, record))
      return channel.call(OperatorService.method.setOperators, { record, ...(signature && { signature }) })
    })
    const { digest, standing, signers, needed } = answer
    const waiting = `${signers.length} of the ${needed} operators needed have signed ${digest}`
    return { json: { digest, standing, signers, needed }, text: standing ? `it stands: ${digest}` : waiting }
  },
})
