import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { chown, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { PostgresBinaries } from './postgres-binaries.ts'

const execute = promisify(execFile)

/** Under which account PostgreSQL's programs run, and what has to be done to files for it. */
export type PostgresAccount = {
  /** Runs a program to its end and returns its standard output. Rejects with its exit code and output. */
  run(program: string, args: readonly string[]): Promise<string>
  /** Makes a directory (and everything in it) usable by the account. */
  give(directory: string): Promise<void>
}

/** A user namespace in which root appears as nobody: no file changes hands, and 0700 parents stay passable. */
const NAMESPACE = ['--user', '--map-user=65534', '--map-group=65534', '--'] as const

/** Long enough for a checkpoint of a busy server on a slow disk. */
const PROGRAM_TIMEOUT_MS = 120_000

/**
 * PostgreSQL refuses to run as root. Everybody else runs it as themselves; root runs it in a user
 * namespace, or, where those are forbidden (most containers), as the real `nobody`. A cluster
 * that exists keeps the account that owns it.
 */
export async function postgresAccount(cluster: string, binaries: PostgresBinaries): Promise<PostgresAccount> {
  if (process.getuid?.() !== 0) return ownAccount(binaries)
  const owner = existsSync(cluster) ? await stat(cluster) : undefined
  if (owner !== undefined && owner.uid !== 0) return otherAccount(binaries, owner.uid, owner.gid)
  if (await namespacesWork()) return namespaceAccount(binaries)
  const [uid, gid] = await Promise.all([idOfNobody('-u'), idOfNobody('-g')])
  const account = otherAccount(binaries, uid, gid)
  if (owner !== undefined) await account.give(cluster)
  return account
}

function ownAccount(binaries: PostgresBinaries): PostgresAccount {
  return { run: (program, args) => runProgram(binaries, program, args), give: async () => {} }
}

function namespaceAccount(binaries: PostgresBinaries): PostgresAccount {
  return {
    run: (program, args) => runProgram(binaries, 'unshare', [...NAMESPACE, program, ...args]),
    give: async () => {},
  }
}

function otherAccount(binaries: PostgresBinaries, uid: number, gid: number): PostgresAccount {
  return {
    run: (program, args) => runProgram(binaries, program, args, { uid, gid }),
    give: (directory) => chownAll(directory, uid, gid),
  }
}

async function runProgram(
  binaries: PostgresBinaries,
  program: string,
  args: readonly string[],
  account: { uid?: number; gid?: number } = {},
): Promise<string> {
  // Messages are matched against known failures, so they must come untranslated.
  const env = { ...process.env, ...binaries.env, LC_ALL: 'C' }
  const { stdout } = await execute(program, [...args], { cwd: '/', env, timeout: PROGRAM_TIMEOUT_MS, ...account })
  return stdout
}

async function namespacesWork(): Promise<boolean> {
  try {
    await execute('unshare', [...NAMESPACE, 'true'])
    return true
  } catch {
    return false
  }
}

async function idOfNobody(flag: '-u' | '-g'): Promise<number> {
  const { stdout } = await execute('id', [flag, 'nobody'])
  return Number(stdout)
}

async function chownAll(directory: string, uid: number, gid: number): Promise<void> {
  await chown(directory, uid, gid)
  for (const entry of await readdir(directory, { withFileTypes: true, recursive: true })) {
    if (!entry.isSymbolicLink()) await chown(join(entry.parentPath, entry.name), uid, gid)
  }
}
