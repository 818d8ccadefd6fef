import { homedir } from 'node:os'
import { isAbsolute, join } from 'node:path'

type Environment = Readonly<Record<string, string | undefined>>

/** The XDG base directory specification: relative values are ignored. */
function base(env: Environment, variable: string, fallback: string): string {
  const value = env[variable]
  return value !== undefined && isAbsolute(value) ? value : join(env['HOME'] ?? homedir(), fallback)
}

const dataHome = (env: Environment) => join(base(env, 'XDG_DATA_HOME', '.local/share'), 'tapestry')
const configHome = (env: Environment) => join(base(env, 'XDG_CONFIG_HOME', '.config'), 'tapestry')

/** Where a coordinator keeps its keys, database and blobs unless told otherwise. */
export const defaultCoordinatorDirectory = (env: Environment) => join(dataHome(env), 'coordinator')

/** Where a node keeps its keys and rounds unless told otherwise. */
export const defaultNodeDirectory = (env: Environment) => join(dataHome(env), 'node')

/** Which federations this user has seen and trusts. */
export const trustStorePath = (env: Environment) => join(configHome(env), 'trust.json')

/** Defaults for options, by their long names. */
export const settingsPath = (env: Environment) => env['TAPESTRY_CONFIG'] ?? join(configHome(env), 'config.yaml')
