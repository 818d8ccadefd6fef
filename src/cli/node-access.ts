import type { Clock } from '../core/clock.ts'
import { type NodeClient, openNodeClient } from '../participant/client.ts'
import { type NodeDirectory, openNodeDirectory } from '../participant/node-directory.ts'
import { defaultNodeDirectory } from './directories.ts'

/** Runs `use` with a node's directory and a channel under its certificate, and closes it. Nothing is sent before the first call. */
export async function withNode<T>(
  dir: string | undefined,
  { env, clock }: { readonly env: Readonly<Record<string, string | undefined>>; readonly clock: Clock },
  use: (directory: NodeDirectory, client: NodeClient) => Promise<T>,
): Promise<T> {
  const directory = await openNodeDirectory(dir ?? defaultNodeDirectory(env))
  const client = await openNodeClient(directory, clock)
  try {
    return await use(directory, client)
  } finally {
    client.close()
  }
}
