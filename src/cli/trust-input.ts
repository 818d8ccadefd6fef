import { z } from 'zod'
import type { Trust } from '../participant/public-client.ts'
import { flag, setting } from './command.ts'
import { trustStorePath } from './directories.ts'
import { addresses, federationId } from './input.ts'

/** How a stranger reaches a coordinator, and how it knows that it is the right one. */
export const STRANGER_INPUT = {
  from: addresses,
  trust: federationId.optional(),
  trustOnFirstUse: z.boolean().default(false),
}

/** Fresh options for each command: commander's options belong to one command. */
export const STRANGER_OPTIONS = () => [
  setting('--from <host:port,...>', 'the coordinator, or its replicas').makeOptionMandatory(),
  setting('--trust <federation>', 'the federation that must answer, sha256:<64 hex>; later it is remembered'),
  flag('--trust-on-first-use', 'trust whoever answers when the address was never met before'),
]

/** Federations met before are remembered in the user's own file. */
export function strangerTrust(
  input: { readonly trust?: Trust['federation']; readonly trustOnFirstUse: boolean },
  env: Readonly<Record<string, string | undefined>>,
): Trust {
  return { federation: input.trust, store: trustStorePath(env), onFirstUse: input.trustOnFirstUse }
}
