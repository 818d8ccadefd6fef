import { join } from 'node:path'
import { z } from 'zod'
import { TapestryError } from '../core/error.ts'
import { ensureAddresses } from '../participant/address.ts'
import type { Channel } from '../participant/channel.ts'
import { openReplicas } from '../participant/replicas.ts'
import { setting } from './command.ts'
import { defaultCoordinatorDirectory } from './directories.ts'
import { addresses } from './input.ts'
import { readNamedFile } from './named-file.ts'

/** How an operator reaches the coordinator: by its directory, or from elsewhere by address and credentials. */
export type OperatorAccess = {
  readonly dir?: string | undefined
  readonly address?: string | undefined
  /** Folder with operator.crt, operator.key and ca.crt. */
  readonly credentials?: string | undefined
}

export const OPERATOR_INPUT = {
  dir: z.string().optional(),
  address: addresses.optional(),
  credentials: z.string().optional(),
}

/** Fresh options for each command: commander's options belong to one command. */
export const OPERATOR_OPTIONS = () => [
  setting('--dir <directory>', "the coordinator's directory, when it runs here"),
  setting('--address <host:port,...>', 'the coordinator, or its replicas, when it runs elsewhere'),
  setting('--credentials <directory>', 'folder with operator.crt, operator.key and ca.crt'),
]

type Environment = Readonly<Record<string, string | undefined>>

/**
 * Opens a channel with the operator's certificate.
 * @throws TapestryError NOT_FOUND when there are no credentials, UNAVAILABLE when the coordinator never started.
 */
export async function connectOperator(access: OperatorAccess, env: Environment): Promise<Channel> {
  const dir = access.dir ?? defaultCoordinatorDirectory(env)
  const keys = credentialsFolder(access, env)
  const key = await readCredential(join(keys, 'operator.key'))
  const certificate = await readCredential(join(keys, 'operator.crt'))
  const authority = await readAuthority(access, env)
  const addresses = ensureAddresses(access.address ?? (await addressIn(dir)))
  return openReplicas(addresses, authority, { key, certificate })
}

/** PEM of the authority that the operator's credentials are of. @throws TapestryError NOT_FOUND */
export async function readAuthority(access: OperatorAccess, env: Environment): Promise<string> {
  return readCredential(join(credentialsFolder(access, env), 'ca.crt'))
}

function credentialsFolder(access: OperatorAccess, env: Environment): string {
  return access.credentials ?? join(access.dir ?? defaultCoordinatorDirectory(env), 'keys')
}

/** Runs `use` with an operator's channel, and closes it. */
export async function withOperator<T>(
  access: OperatorAccess,
  env: Environment,
  use: (channel: Channel) => Promise<T>,
): Promise<T> {
  const channel = await connectOperator(access, env)
  try {
    return await use(channel)
  } catch (error) {
    if (!(error instanceof TapestryError) || error.code !== 'UNAVAILABLE') throw error
    const hint = error.hint ?? `ask "tapestry doctor coordinator"; is it serving at ${channel.address.text}?`
    throw new TapestryError('UNAVAILABLE', error.message, { cause: error, hint })
  } finally {
    channel.close()
  }
}

async function readCredential(path: string): Promise<string> {
  try {
    return await readNamedFile(path)
  } catch (cause) {
    throw new TapestryError('NOT_FOUND', `no operator credentials: cannot read ${path}`, {
      cause,
      hint: 'name the coordinator with --dir, or with --address and --credentials',
    })
  }
}

/** A coordinator writes its address when it starts to serve. */
async function addressIn(dir: string): Promise<string> {
  try {
    return (await readNamedFile(join(dir, 'address'))).trim()
  } catch (cause) {
    throw new TapestryError('UNAVAILABLE', `the coordinator in ${dir} has not been started`, {
      cause,
      hint: `tapestry coordinator serve --dir ${dir}`,
    })
  }
}
