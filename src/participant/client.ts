import type { Clock, Millis } from '../core/clock.ts'
import { EnrollmentService } from '../gen/proto/tapestry/v1/enrollment_pb.ts'
import { ensureAddresses } from './address.ts'
import type { Channel, ClientIdentity } from './channel.ts'
import { enrolAgain } from './enrolment.ts'
import { type Membership, type NodeDirectory, requireKey, requireMembership } from './node-directory.ts'
import { openReplicas, spreadBy } from './replicas.ts'
import { isPassing } from './retry.ts'
import { checkCertificate, parseTlsPem, requestCertificate, tlsPem, validityOf } from './tls-credential.ts'
import { signatureMessage } from './wire.ts'

/** A node's way to its coordinator. The certificate behind it is renewed without the caller noticing. */
export type NodeClient = Channel & {
  readonly membership: Membership
  /** Renews the client certificate at two thirds of its life. @returns whether it was renewed. */
  renewIfDue(): Promise<boolean>
}

/** A coordinator that cannot be reached is not asked for a renewal before every single call. */
const RENEWAL_PAUSE_MS: Millis = 30_000

/**
 * Opens the client of a node that has enrolled. Nothing is sent before the first call.
 * @throws TapestryError FAILED_PRECONDITION before enrolment; DATA_INVALID when keys are missing or damaged.
 */
export async function openNodeClient(directory: NodeDirectory, clock: Clock): Promise<NodeClient> {
  const membership = await requireMembership(directory)
  const addresses = spreadBy(ensureAddresses(membership.address), membership.node)
  const authority = await requireKey(directory, 'ca.crt')
  let identity = parseTlsPem(await requireKey(directory, 'tls.pem'))
  let channel = openReplicas(addresses, authority, identity)
  let previous: Channel | undefined
  let renewing: Promise<boolean> | undefined
  let notBefore: Millis = 0

  async function renew(): Promise<boolean> {
    const now = clock.now()
    const { from, to } = validityOf(identity.certificate)
    if (now < from + ((to - from) * 2) / 3 || now < notBefore) return false
    notBefore = now + RENEWAL_PAUSE_MS
    try {
      if (now < to) await renewCertificate(directory, channel, { ...membership, authority }, clock)
      else await enrolAgain(directory, clock)
    } catch (error) {
      // While the present certificate lasts there is time to try again.
      if (now < to && isPassing(error)) return false
      throw error
    }
    identity = parseTlsPem(await requireKey(directory, 'tls.pem'))
    // The old channel stays open until the next swap: calls under way, and their repetitions, end on it.
    previous?.close()
    previous = channel
    channel = openReplicas(addresses, authority, identity)
    return true
  }

  function renewIfDue(): Promise<boolean> {
    renewing ??= renew().finally(() => {
      renewing = undefined
    })
    return renewing
  }

  return {
    membership,
    renewIfDue,
    get address() {
      return channel.address
    },
    get https() {
      return channel.https
    },
    leave: (origin) => channel.leave(origin),
    async call(method, request, options) {
      await renewIfDue()
      return channel.call(method, request, options)
    },
    async *receive(method, request, options) {
      await renewIfDue()
      yield* channel.receive(method, request, options)
    },
    async send(method, requests, options) {
      await renewIfDue()
      return channel.send(method, requests, options)
    },
    close() {
      previous?.close()
      channel.close()
    },
  }
}

/** Asks for the next certificate over a fresh key, checks it, and stores both in one file. */
async function renewCertificate(
  directory: NodeDirectory,
  channel: Channel,
  expected: Membership & { readonly authority: string },
  clock: Clock,
): Promise<void> {
  const { key, der, signature } = await requestCertificate(await requireKey(directory, 'node.key'))
  const request = { certificateRequest: der, requestSignature: signatureMessage(signature) }
  const { certificate } = await channel.call(EnrollmentService.method.renewCertificate, request, { attempts: 1 })
  const identity: ClientIdentity = checkCertificate({ key, certificate }, expected, clock.now())
  await directory.writeKey('tls.pem', tlsPem(identity))
}
