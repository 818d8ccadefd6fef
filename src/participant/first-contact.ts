import { TapestryError } from '../core/error.ts'
import { fingerprintOf } from '../core/fingerprint.ts'
import type { FederationId } from '../core/ids.ts'
import type { Address } from './address.ts'
import { presentedChain } from './presented-chain.ts'

/**
 * The federation that a coordinator claims to be, for a caller who has nothing to compare it with. It proves nothing:
 * pin it, then connect with it pinned, which does.
 * @throws TapestryError UNAVAILABLE when nobody answers; VERIFICATION_FAILED when no authority is presented.
 */
export async function presentedFederation({ host, port, text }: Address): Promise<FederationId> {
  const [, issuer] = await presentedChain(host, port)
  if (issuer?.ca === true) return fingerprintOf(issuer)
  throw new TapestryError('VERIFICATION_FAILED', `${text} is no coordinator: it presents no authority`)
}
