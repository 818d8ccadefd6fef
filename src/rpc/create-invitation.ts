import { randomBytes } from 'node:crypto'
import type { Context } from '../context.ts'
import { TapestryError } from '../core/error.ts'
import { ensureMemberId } from '../core/ids.ts'
import { ensureJurisdiction } from '../core/jurisdiction.ts'
import type { CreateInvitationRequest } from '../gen/proto/tapestry/v1/operator_pb.ts'
import { createInvitation as invitationText, secretHash } from '../identity/invitation.ts'

const SECRET_BYTES = 32
const DEFAULT_SECONDS = 24 * 3600
/** An invitation in somebody's mailbox is a key to the federation: three days at most. */
const MAX_SECONDS = 72 * 3600

/** Makes a single-use invitation for a member's node. Only its hash is kept. */
export async function createInvitation(context: Context, address: string, request: CreateInvitationRequest) {
  const member = ensureMemberId(request.member)
  const jurisdiction = request.jurisdiction === '' ? undefined : ensureJurisdiction(request.jurisdiction)
  const seconds = request.validSeconds || DEFAULT_SECONDS
  if (seconds > MAX_SECONDS) {
    throw new TapestryError(
      'INVALID_ARGUMENT',
      `an invitation is valid for at most ${MAX_SECONDS} seconds, not ${seconds}`,
    )
  }
  const secret = randomBytes(SECRET_BYTES)
  const now = context.clock.now()
  const expiresAt = now + seconds * 1000
  await context.store.transact('create-invitation', async (tx) => {
    await tx.ensureMember(member, now, jurisdiction)
    await tx.createInvitation({ secretHash: secretHash(secret), member, expiresAt, usedBy: null }, now)
  })
  return { invitation: invitationText(secret, address, context.federation), expiresMs: BigInt(expiresAt) }
}
