import type { Context } from '../context.ts'
import { type Digest, ensureDigest } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import { ensureNodeId, ensureRecordId } from '../core/ids.ts'
import { RevocationMode as Mode, type RequestRevocationRequest } from '../gen/proto/tapestry/v1/revocation_pb.ts'
import type { RevocationMode } from '../policy/revocation.ts'
import type { Reader } from '../store/reader.ts'
import { planRevocations, type RevocationSubject, requestRevocation as revoke } from '../store/revoke.ts'
import type { NodePrincipal, OperatorPrincipal } from './auth.ts'
import { estimateMessage, revocationMessage } from './revocation-message.ts'

const MODES: Partial<Record<Mode, RevocationMode>> = {
  [Mode.UNSPECIFIED]: 'remerge',
  [Mode.REWIND]: 'rewind',
  [Mode.REMERGE]: 'remerge',
}
const MOST_CHARACTERS = 500

/** Takes contributions back, or says what that would cost. A node speaks for its own, an operator for anybody's. */
export async function requestRevocation(
  context: Context,
  request: RequestRevocationRequest,
  principal: NodePrincipal | OperatorPrincipal,
) {
  const { reader } = context.store
  const subject = await subjectOf(reader, request)
  await ensureOwn(reader, subject, principal)
  const mode = modeOf(request)
  if (request.dryRun) {
    const planned = await planRevocations(reader, { subject, mode })
    return { estimates: planned.map(({ run, plan }) => estimateMessage(run.id, plan)) }
  }
  const requestedBy = principal.kind === 'node' ? principal.node.id : 'operator'
  const asked = { subject, mode, requestedBy, reason: reasonOf(request, principal) } as const
  const begun = await context.store.transact('request-revocation', (tx) => revoke(tx, asked, context.clock.now()))
  return {
    estimates: begun.map(({ key, plan }) => estimateMessage(key.run, plan)),
    revocations: begun.map(revocationMessage),
  }
}

async function subjectOf(reader: Reader, { subject }: RequestRevocationRequest): Promise<RevocationSubject> {
  switch (subject.case) {
    case 'contribution':
      return { kind: 'contribution', id: ensureDigest(subject.value) }
    case 'dataset':
      return { kind: 'dataset', node: ensureNodeId(subject.value.node), id: ensureRecordId(subject.value.id) }
    case 'node':
      return { kind: 'node', node: ensureNodeId(subject.value) }
    case 'record':
      return datasetOf(reader, ensureDigest(subject.value))
    default:
      throw new TapestryError('INVALID_ARGUMENT', 'say what is to be revoked')
  }
}

/** The dataset that a record declares, under all its records. @throws TapestryError NOT_FOUND */
async function datasetOf(reader: Reader, digest: Digest): Promise<RevocationSubject> {
  const [record] = await reader.datasetRecords([digest])
  if (record === undefined) throw new TapestryError('NOT_FOUND', 'there is no such record')
  return { kind: 'dataset', node: record.node, id: record.id }
}

/** @throws TapestryError PERMISSION_DENIED; NOT_FOUND for a contribution or node that nobody knows. */
async function ensureOwn(
  reader: Reader,
  subject: RevocationSubject,
  principal: NodePrincipal | OperatorPrincipal,
): Promise<void> {
  const owner = subject.kind === 'contribution' ? (await reader.contribution(subject.id))?.node : subject.node
  if (owner === undefined || (await reader.node(owner)) === undefined) {
    throw new TapestryError('NOT_FOUND', `there is no such ${subject.kind}`)
  }
  if (principal.kind === 'operator' || principal.node.id === owner) return
  throw new TapestryError('PERMISSION_DENIED', 'a node revokes only what it contributed itself')
}

function modeOf({ mode }: RequestRevocationRequest): RevocationMode {
  const known = MODES[mode]
  if (known !== undefined) return known
  throw new TapestryError('INVALID_ARGUMENT', 'this coordinator does not know that mode of revocation')
}

/** A member owes nobody a reason; who acts on another's work does. */
function reasonOf({ reason }: RequestRevocationRequest, { kind }: NodePrincipal | OperatorPrincipal): string {
  if (reason.length > MOST_CHARACTERS) {
    throw new TapestryError('INVALID_ARGUMENT', `a reason has at most ${MOST_CHARACTERS} characters`)
  }
  if (reason.trim() !== '' || kind === 'node') return reason
  throw new TapestryError('INVALID_ARGUMENT', 'an operator has to give a reason')
}
