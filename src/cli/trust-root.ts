import { z } from 'zod'
import { TapestryError } from '../core/error.ts'
import type { FederationId } from '../core/ids.ts'
import type { TrustRoot } from '../model/verify.ts'
import { setting } from './command.ts'
import { federationId } from './input.ts'
import { readNamedFile } from './named-file.ts'

/** What proves a checkpoint on disk, without a network. */
export const TRUST_ROOT_INPUT = { trust: federationId.optional(), key: z.string().optional() }

/** Fresh options for each command: commander's options belong to one command. */
export const TRUST_ROOT_OPTIONS = () => [
  setting('--trust <federation>', 'the federation it must come from, sha256:<64 hex>'),
  setting('--key <file>', 'or the release key that must have signed it, PEM'),
]

type Given = { readonly trust?: FederationId | undefined; readonly key?: string | undefined }

/** @throws TapestryError INVALID_ARGUMENT unless one of both is given; NOT_FOUND */
export async function trustRoot({ trust: federation, key }: Given): Promise<TrustRoot> {
  if (federation !== undefined && key === undefined) return { federation }
  if (key !== undefined && federation === undefined) return { releaseKeyPem: await readNamedFile(key) }
  throw new TapestryError('INVALID_ARGUMENT', 'give either --trust or --key: a checkpoint cannot vouch for itself', {
    hint: 'the federation is the sha256:... that its operator tells you',
  })
}
