import { X509Certificate } from 'node:crypto'
import { TapestryError } from '../core/error.ts'
import { fingerprintOf } from '../core/fingerprint.ts'
import type { FederationId } from '../core/ids.ts'
import { privateKeyFromPem } from '../core/signature.ts'
import { OperatorService } from '../gen/proto/tapestry/v1/operator_pb.ts'
import { type OperatorRecord, openOperatorRecord } from '../model/operator-record.ts'
import type { Channel } from '../participant/channel.ts'
import { requireSignature } from '../participant/wire.ts'
import { readNamedFile } from './named-file.ts'

/** The federation that an operator's credentials are of. */
export type OwnFederation = { readonly id: FederationId; readonly caCertificate: string }

export function ownFederation(caCertificate: string): OwnFederation {
  return { id: fingerprintOf(new X509Certificate(caCertificate)), caCertificate }
}

/** The record that stands, proved by the authority; undefined when there never was any. @throws TapestryError VERIFICATION_FAILED */
export async function fetchOperatorRecord(
  channel: Channel,
  federation: OwnFederation,
): Promise<{ readonly record: OperatorRecord; readonly text: string } | undefined> {
  const { record, signature } = await channel.call(OperatorService.method.getOperators, {})
  if (record.length === 0) return undefined
  const text = Buffer.from(record).toString('utf8')
  const signed = { record: text, signature: requireSignature(signature, 'the operator record') }
  return { record: openOperatorRecord(signed, federation), text }
}

/** An operator's private key. @throws TapestryError NOT_FOUND, INVALID_ARGUMENT */
export async function readSigningKey(path: string) {
  try {
    return privateKeyFromPem(await readNamedFile(path))
  } catch (cause) {
    if (!(cause instanceof TapestryError) || cause.code !== 'INVALID_ARGUMENT') throw cause
    throw new TapestryError('INVALID_ARGUMENT', `${path}: ${cause.message}`, {
      cause,
      hint: 'tapestry operator key FILE makes one',
    })
  }
}
