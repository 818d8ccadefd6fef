import { mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import { z } from 'zod'
import { TapestryError } from '../core/error.ts'
import { ensureFederationId, type FederationId } from '../core/ids.ts'
import { branded } from '../model/parsing.ts'
import { fileError } from '../model/whole-file.ts'
import type { Address } from './address.ts'
import { readRecord, writeRecord } from './private-file.ts'

/** Which federation a user has met at which address. */
type TrustRecord = {
  readonly format: 'tapestry-trust/1'
  readonly coordinators: Readonly<Record<string, FederationId>>
}

const schema: z.ZodType<TrustRecord> = z.strictObject({
  format: z.literal('tapestry-trust/1'),
  coordinators: z.record(z.string(), branded(ensureFederationId)),
})

/**
 * The federation pinned for an address; undefined at first contact.
 * @throws TapestryError DATA_INVALID when the file is damaged: guessing would undo the pin.
 */
export async function pinnedFederation(path: string, address: Address): Promise<FederationId | undefined> {
  return new Map(Object.entries(await coordinators(path))).get(address.text)
}

/**
 * Pins a federation to an address.
 * @throws TapestryError WRONG_FEDERATION when another one is pinned already.
 */
export async function pinFederation(path: string, address: Address, federation: FederationId): Promise<void> {
  const known = await coordinators(path)
  const pinned = new Map(Object.entries(known)).get(address.text)
  if (pinned === federation) return
  if (pinned !== undefined) throw changed(path, address, pinned, federation)
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  } catch (cause) {
    throw fileError(path, cause)
  }
  await writeRecord(path, { format: 'tapestry-trust/1', coordinators: { ...known, [address.text]: federation } })
}

/** The alarm that pinning exists for. */
export function changed(path: string, { text }: Address, pinned: FederationId, found: FederationId): TapestryError {
  return new TapestryError('WRONG_FEDERATION', `${text} now belongs to ${found}; it was ${pinned} before`, {
    hint: `ask the operator whether that is so; only then remove the entry from ${path}`,
  })
}

async function coordinators(path: string): Promise<TrustRecord['coordinators']> {
  return (await readRecord(path, schema))?.coordinators ?? {}
}
