import { randomUUID } from 'node:crypto'
import { link, mkdir, open, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Millis } from '../core/clock.ts'
import { TapestryError } from '../core/error.ts'
import type { FederationId } from '../core/ids.ts'
import { keyIdOf, privateKeyFromPem, publicKeyFromPem } from '../core/signature.ts'
import {
  type Authority,
  createAuthority,
  federationIdOf,
  issueClientCertificate,
} from '../identity/certificate-authority.ts'
import { createCertificateRequest } from '../identity/certificate-request.ts'
import { generateKey } from '../identity/key-file.ts'
import { signFederationRecord } from '../model/federation-record.ts'
import { isFileSystemError } from './named-file.ts'

/** Grows when the layout below changes; another number is refused instead of guessed at. */
const LAYOUT_VERSION = '1'
/** The first operator's credential lives beside the CA key, so ageing it out would protect nothing. */
const OPERATOR_LIFETIME_MS = 10 * 365 * 24 * 3_600_000
const OPERATOR = 'operator'

/** Where a coordinator keeps what is not in its database. */
export type CoordinatorPaths = {
  readonly root: string
  readonly version: string
  readonly config: string
  readonly keys: string
  readonly postgres: string
  readonly blobs: string
  /** Where bytes arrive, and copies lie, when the storage is not a directory. May be lost. */
  readonly spool: string
  /** `host:port` of the running coordinator, for the operator's commands on this machine. */
  readonly address: string
  /** Held by the one server that may use the embedded database: it stops the database when it stops. */
  readonly lock: string
}

/** Everything secret, read once and handed to who needs it. */
export type CoordinatorSecrets = {
  readonly authority: Authority
  readonly releaseKey: string
  /** Signs the checkpoints of the federation's log. */
  readonly logKey: string
}

/** The federation record as it was signed at init. */
export type StoredFederation = {
  readonly id: FederationId
  readonly name: string
  readonly record: string
  readonly signature: string
  readonly createdAt: Millis
}

export function coordinatorPaths(root: string): CoordinatorPaths {
  const within = (name: string) => join(root, name)
  return {
    root,
    version: within('VERSION'),
    config: within('config.json'),
    keys: within('keys'),
    postgres: within('postgres'),
    blobs: within('blobs'),
    spool: within('spool'),
    address: within('address'),
    lock: within('serve.lock'),
  }
}

/**
 * Makes a federation: its authority, its release and log keys, its signed record, and the first operator's credential.
 * @param settings what `serve` reads from config.json.
 * @throws TapestryError ALREADY_EXISTS when the directory holds a coordinator.
 */
export async function initCoordinator(options: {
  readonly dir: string
  readonly name: string
  readonly settings: Readonly<Record<string, unknown>>
  readonly now: Millis
}): Promise<StoredFederation> {
  const paths = coordinatorPaths(options.dir)
  if (await exists(paths.version)) {
    throw new TapestryError('ALREADY_EXISTS', `${options.dir} already holds a coordinator`)
  }
  await mkdir(paths.keys, { recursive: true, mode: 0o700 })
  const authority = await createAuthority(options.name, options.now)
  const release = generateKey('p-256')
  const federation = signRecord(authority, release.publicKey, options.name, options.now)
  await writeSecret(join(paths.keys, 'ca.key'), authority.key)
  await writeSecret(join(paths.keys, 'release.key'), release.privateKey)
  await ensureLogKey(paths)
  await writeFile(join(paths.keys, 'ca.crt'), authority.certificate)
  await writeFile(join(paths.keys, 'release.pub'), release.publicKey)
  await writeOperator(paths, authority, options.now)
  await writeFile(join(options.dir, 'federation.json'), `${JSON.stringify(federation, null, 2)}\n`)
  await writeFile(paths.config, `${JSON.stringify(options.settings, null, 2)}\n`)
  // Last, and atomically: a directory without it is not a coordinator, so a crash half way can be repeated.
  await writeAtomically(paths.version, `${LAYOUT_VERSION}\n`)
  return federation
}

function signRecord(authority: Authority, releaseKey: string, name: string, now: Millis): StoredFederation {
  const id = federationIdOf(authority.certificate)
  const record = {
    format: 'tapestry-federation/1',
    id,
    name,
    caCertificate: authority.certificate,
    releaseKeys: [{ keyId: keyIdOf(publicKeyFromPem(releaseKey)), publicKey: releaseKey }],
  } as const
  const { bytes, signature } = signFederationRecord(record, privateKeyFromPem(authority.key))
  return { id, name, record: Buffer.from(bytes).toString('utf8'), signature: signature.value, createdAt: now }
}

async function writeOperator(paths: CoordinatorPaths, authority: Authority, now: Millis): Promise<void> {
  const { privateKey } = generateKey('ed25519')
  const request = await createCertificateRequest(privateKey)
  const identity = { kind: 'operator', name: OPERATOR } as const
  const certificate = await issueClientCertificate(authority, request, identity, now, OPERATOR_LIFETIME_MS)
  await writeSecret(join(paths.keys, 'operator.key'), privateKey)
  await writeFile(join(paths.keys, 'operator.crt'), certificate)
}

/**
 * @param logKey `required` leaves the directory as it is; `made` gives one from before there was a log its key.
 * @throws TapestryError NOT_FOUND without a coordinator here, DATA_VERSION for one of another layout, DATA_INVALID without a key.
 */
export async function openCoordinatorDirectory(
  dir: string,
  logKey: 'made' | 'required' = 'made',
): Promise<{
  paths: CoordinatorPaths
  secrets: CoordinatorSecrets
  federation: StoredFederation
  file: Record<string, unknown>
}> {
  const paths = coordinatorPaths(dir)
  await requireVersion(paths)
  const key = (name: string) => readKey(join(paths.keys, name))
  const [certificate, caKey, releaseKey] = await Promise.all([key('ca.crt'), key('ca.key'), key('release.key')])
  const ofLog = await (logKey === 'made' ? ensureLogKey(paths) : key('log.key'))
  return {
    paths,
    secrets: { authority: { certificate, key: caKey }, releaseKey, logKey: ofLog },
    federation: JSON.parse(await readFile(join(dir, 'federation.json'), 'utf8')),
    file: JSON.parse(await readFile(paths.config, 'utf8')),
  }
}

async function readKey(path: string): Promise<string> {
  return readFile(path, 'utf8').catch((cause) => {
    if (!isFileSystemError(cause, 'ENOENT')) throw cause
    throw new TapestryError('DATA_INVALID', `${path} is missing`, {
      cause,
      hint: 'restore it from the copy that is kept offline (docs/OPERATIONS.md, Key loss)',
    })
  })
}

/** Directories from before there was a log get its key here. Of several processes that start at once, one makes it. */
async function ensureLogKey({ keys }: CoordinatorPaths): Promise<string> {
  const path = join(keys, 'log.key')
  if (!(await exists(path))) {
    const aside = join(keys, `.log.key.${randomUUID()}.new`)
    await writeSecret(aside, generateKey('ed25519').privateKey)
    // Unlike a rename, a link never replaces what another process has made meanwhile.
    await link(aside, path).catch((error) => {
      if (!isFileSystemError(error, 'EEXIST')) throw error
    })
    await rm(aside)
  }
  return readFile(path, 'utf8')
}

async function requireVersion(paths: CoordinatorPaths): Promise<void> {
  if (!(await exists(paths.version))) {
    throw new TapestryError('NOT_FOUND', `${paths.root} holds no coordinator`, {
      hint: 'tapestry coordinator init makes one',
    })
  }
  const found = (await readFile(paths.version, 'utf8')).trim()
  if (found === LAYOUT_VERSION) return
  throw new TapestryError(
    'DATA_VERSION',
    `${paths.root} has layout ${found.slice(0, 20)}, this build reads ${LAYOUT_VERSION}`,
    {
      hint: 'use the version of tapestry that wrote it',
    },
  )
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}

async function writeSecret(path: string, text: string): Promise<void> {
  await writeFile(path, text, { mode: 0o600 })
}

export async function writeAtomically(path: string, text: string): Promise<void> {
  const aside = `${path}.new`
  const file = await open(aside, 'w')
  try {
    await file.writeFile(text)
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(aside, path)
  const directory = await open(dirname(path), 'r')
  await directory.sync().finally(() => directory.close())
}
