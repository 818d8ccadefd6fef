import { TapestryError } from '../../core/error.ts'

/** Where in which bucket of which S3 server blobs are kept. No credentials: those come from the environment alone. */
export type S3Location = {
  readonly bucket: string
  /** What all keys begin with: empty, or something that ends with `/`. */
  readonly prefix: string
  /** Of a server other than Amazon's. */
  readonly endpoint: string | undefined
  readonly region: string | undefined
  /** The bucket is named in the path instead of the host name. */
  readonly pathStyle: boolean
  /** Bytes that copies of blobs may have on the disk of this machine. */
  readonly cacheBytes: number
}

const BUCKET = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/
/** What S3 calls safe in keys, in parts that are neither empty nor dots. */
const PREFIX = /^(?:(?!\.{1,2}\/)[A-Za-z0-9!_.*'()-]+\/)*$/
const REGION = /^[a-z0-9-]{1,40}$/
const SIZE = /^([1-9]\d{0,5})(MiB|GiB|TiB)$/
const UNITS = { MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 } as const
const DEFAULT_CACHE_BYTES = 20 * UNITS.GiB
const OPTIONS: ReadonlySet<string> = new Set(['endpoint', 'region', 'style', 'cache'])

/** True for settings that {@link s3Location} reads. */
export function isS3(setting: string): boolean {
  return setting.startsWith('s3://')
}

/**
 * Reads `s3://bucket/prefix?endpoint=https://...&region=...&style=path|virtual&cache=20GiB`.
 * @throws TapestryError INVALID_ARGUMENT, in words that repeat nothing of what may be a secret.
 */
export function s3Location(setting: string): S3Location {
  const url = URL.canParse(setting) ? new URL(setting) : undefined
  if (url?.protocol !== 's3:') throw unfit('expected s3://<bucket>/<prefix>')
  if (url.username !== '' || url.password !== '' || url.port !== '' || url.hash !== '') {
    throw unfit(
      'it holds more than bucket, prefix and options',
      'credentials come from the environment: AWS_ACCESS_KEY_ID, ...',
    )
  }
  const options = optionsOf(url.searchParams)
  const prefix = url.pathname.replace(/^\//, '').replace(/(?<=[^/])$/, '/')
  const endpoint = options.get('endpoint')
  const style = options.get('style') ?? (endpoint === undefined ? 'virtual' : 'path')
  if (!BUCKET.test(url.hostname)) throw unfit('this is no name of a bucket')
  if (!PREFIX.test(prefix)) throw unfit("the prefix may hold letters, digits and !_.*'()- between slashes")
  if (style !== 'path' && style !== 'virtual') throw unfit('style is path or virtual')
  const region = options.get('region')
  if (region !== undefined && !REGION.test(region)) throw unfit('this is no name of a region')
  return {
    bucket: url.hostname,
    prefix,
    endpoint: endpoint === undefined ? undefined : ensureEndpoint(endpoint),
    region,
    pathStyle: style === 'path',
    cacheBytes: cacheBytesOf(options.get('cache')),
  }
}

/** The location as people read it. */
export function s3Text({ bucket, prefix, endpoint }: S3Location): string {
  return `s3://${bucket}/${prefix}${endpoint === undefined ? '' : ` at ${endpoint}`}`
}

function optionsOf(parameters: URLSearchParams): ReadonlyMap<string, string> {
  const options = new Map<string, string>()
  for (const [name, value] of parameters) {
    if (!OPTIONS.has(name) || options.has(name)) throw unfit(`the options are ${[...OPTIONS].join(', ')}, each once`)
    options.set(name, value)
  }
  return options
}

function ensureEndpoint(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined
  const plain = url !== undefined && url.username === '' && url.password === '' && url.search === '' && url.hash === ''
  if (plain && (url.protocol === 'https:' || url.protocol === 'http:')) return url.href.replace(/\/$/, '')
  throw unfit('endpoint is http(s)://host:port')
}

function cacheBytesOf(text: string | undefined): number {
  if (text === undefined) return DEFAULT_CACHE_BYTES
  const [, count, unit] = SIZE.exec(text) ?? []
  if (unit !== 'MiB' && unit !== 'GiB' && unit !== 'TiB') throw unfit('cache is a size such as 512MiB or 20GiB')
  return Number(count) * UNITS[unit]
}

function unfit(detail: string, hint = 's3://<bucket>/<prefix>?endpoint=https://...&region=...'): TapestryError {
  return new TapestryError('INVALID_ARGUMENT', `the storage does not fit: ${detail}`, { hint })
}
