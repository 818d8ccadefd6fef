import { TapestryError } from '../core/error.ts'
import type { FederationId } from '../core/ids.ts'
import { type Address, ensureAddresses } from './address.ts'
import type { Channel } from './channel.ts'
import { fetchFederation, type SignedFederation } from './federation.ts'
import { presentedFederation } from './first-contact.ts'
import { pinAuthority } from './pinned-authority.ts'
import { beginningWith, firstAnswering, openReplicas } from './replicas.ts'
import { changed, pinFederation, pinnedFederation } from './trust-store.ts'

/** What a stranger trusts when it connects. */
export type Trust = {
  /** The federation that must answer, known from elsewhere. */
  readonly federation?: FederationId | undefined
  /** Where federations met before are remembered; nothing is remembered without it. */
  readonly store?: string | undefined
  /** Trust whoever answers at an address for the first time. */
  readonly onFirstUse?: boolean | undefined
}

/** A stranger's way to a coordinator: what is open to anyone. */
export type PublicClient = Channel & { readonly federation: SignedFederation; readonly firstContact: boolean }

/**
 * Connects without a client certificate, to a federation that is known, pinned, or trusted on first use.
 * @throws TapestryError WRONG_FEDERATION when another one answers; FAILED_PRECONDITION at a first contact that the
 *   caller does not allow; UNAVAILABLE.
 */
export async function openPublicClient(addressText: string, trust: Trust, signal?: AbortSignal): Promise<PublicClient> {
  const addresses = ensureAddresses(addressText)
  const { address, answer } = await firstAnswering(addresses, (one) => meet(one, trust))
  const channel = openReplicas(beginningWith(addresses, address), answer.authority)
  try {
    const federation = await fetchFederation(channel, answer.expected, signal)
    if (trust.store !== undefined) await pinFederation(trust.store, address, answer.expected)
    // Assigned, not copied: the channel's own members change when it moves to another replica.
    return Object.assign(channel, { federation, firstContact: answer.firstContact })
  } catch (error) {
    channel.close()
    throw error
  }
}

/** Finds out which federation has to answer at an address, and its authority. */
async function meet(address: Address, trust: Trust) {
  const pinned = trust.store === undefined ? undefined : await pinnedFederation(trust.store, address)
  const expected = await expectedFederation(address, trust, pinned)
  const authority = await pinAuthority(address.text, expected).catch((error) => explain(error, address, trust, pinned))
  return { expected, authority, firstContact: pinned === undefined && trust.federation === undefined }
}

async function expectedFederation(
  address: Address,
  trust: Trust,
  pinned: FederationId | undefined,
): Promise<FederationId> {
  if (trust.federation !== undefined && pinned !== undefined && trust.federation !== pinned) {
    throw changed(trust.store ?? '', address, pinned, trust.federation)
  }
  const known = trust.federation ?? pinned
  if (known !== undefined) return known
  const presented = await presentedFederation(address)
  if (trust.onFirstUse === true) return presented
  throw new TapestryError('FAILED_PRECONDITION', `${address.text} has not been met before; it presents ${presented}`, {
    hint: 'compare this federation id with the one its operator tells you, then name it, or allow trust on first use',
  })
}

/** A pinned address that presents another authority is worth the loud words. */
async function explain(
  error: unknown,
  address: Address,
  trust: Trust,
  pinned: FederationId | undefined,
): Promise<never> {
  if (pinned !== undefined && error instanceof TapestryError && error.code === 'WRONG_FEDERATION') {
    const presented = await presentedFederation(address)
    if (presented !== pinned) throw changed(trust.store ?? '', address, pinned, presented)
  }
  throw error
}
