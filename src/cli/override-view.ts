import type { RoundOverride } from '../gen/proto/tapestry/v1/round_pb.ts'
import { formatTime, printable, table } from './terminal.ts'

/** Who has signed to release a blocked candidate, as JSON; null when nobody has. */
export function overrideJson(override: RoundOverride | undefined) {
  if (override === undefined) return null
  const { signers, needed, carried } = override
  return {
    ...{ needed, carried },
    signers: signers.map(({ name, keyId, reason, signedMs }) => ({ name, keyId, reason, signedMs: Number(signedMs) })),
  }
}

/** The same for people. */
export function overrideText({ signers, needed, carried }: RoundOverride): string {
  const signed = `${signers.length} of the ${needed} operators needed have signed`
  const rows = signers.map(({ name, keyId, reason, signedMs }) => [
    printable(name),
    printable(keyId.slice(0, 12)),
    formatTime(Number(signedMs)),
    printable(reason),
  ])
  const who = table([{ title: 'OPERATOR' }, { title: 'KEY' }, { title: 'SIGNED' }, { title: 'REASON' }], rows)
  return `override: ${signed}${carried ? ', the candidate is released' : ''}\n${who}`
}
