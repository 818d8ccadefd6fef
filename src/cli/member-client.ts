import { z } from 'zod'
import type { Clock } from '../core/clock.ts'
import type { Channel } from '../participant/channel.ts'
import { openNodeClient } from '../participant/client.ts'
import { openNodeDirectory } from '../participant/node-directory.ts'
import { setting } from './command.ts'
import { defaultNodeDirectory } from './directories.ts'
import { OPERATOR_INPUT, OPERATOR_OPTIONS, type OperatorAccess, withOperator } from './operator-client.ts'

const ROLES = ['node', 'operator'] as const

/** For what a node may do with its own, and an operator with anybody's. */
export type MemberAccess = OperatorAccess & { readonly as: (typeof ROLES)[number] }

export const MEMBER_INPUT = { ...OPERATOR_INPUT, as: z.enum(ROLES).default('node') }

/** Fresh options for each command: commander's options belong to one command. */
export const MEMBER_OPTIONS = () => {
  const [, ...elsewhere] = OPERATOR_OPTIONS()
  return [
    setting('--as <who>', 'who asks (node)').choices(ROLES),
    setting('--dir <directory>', "the node's directory; for an operator the coordinator's, when it runs here"),
    ...elsewhere,
  ]
}

type Environment = Readonly<Record<string, string | undefined>>

/** Runs `use` with the channel of a node or of an operator, and closes it. @throws TapestryError as both */
export async function withMember<T>(
  { as, ...access }: MemberAccess,
  env: Environment,
  clock: Clock,
  use: (channel: Channel) => Promise<T>,
): Promise<T> {
  if (as === 'operator') return withOperator(access, env, use)
  const client = await openNodeClient(await openNodeDirectory(access.dir ?? defaultNodeDirectory(env)), clock)
  try {
    return await use(client)
  } finally {
    client.close()
  }
}
