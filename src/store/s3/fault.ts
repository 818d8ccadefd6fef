import { type ErrorCode, TapestryError } from '../../core/error.ts'

/** What can be wrong with a bucket, seen from here. */
export type BucketFault = 'missing' | 'refused' | 'alien' | 'elsewhere' | 'away'

/** Time enough for a server that is being restarted, short beside a round's windows. */
const RETRY_MS = 5_000

const SAID = {
  missing: ['the bucket is not there', 'make the bucket, or name another one (--storage)'],
  refused: [
    'the bucket refuses these credentials',
    'AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the permissions in docs/OPERATIONS.md',
  ],
  alien: [
    'the endpoint does not answer as an S3 server does',
    'check the endpoint, and that this machine trusts its certificate',
  ],
  elsewhere: ['the bucket is in another region', 'name its region: s3://...?region=...'],
  away: ['the blob storage does not answer', 'nothing that was acknowledged is lost; it is tried again'],
} as const satisfies Record<BucketFault, readonly [string, string]>

const MISSING: ReadonlySet<string> = new Set(['NoSuchBucket'])
const ELSEWHERE: ReadonlySet<string> = new Set([
  'PermanentRedirect',
  'AuthorizationHeaderMalformed',
  'IllegalLocationConstraintException',
])
const REFUSED: ReadonlySet<string> = new Set([
  ...['AccessDenied', 'Forbidden', 'InvalidAccessKeyId', 'SignatureDoesNotMatch', 'ExpiredToken', 'InvalidToken'],
  ...[
    'AllAccessDisabled',
    'AccountProblem',
    'CredentialsProviderError',
    'RequestTimeTooSkewed',
    'TokenRefreshRequired',
  ],
])
/** The other side speaks no TLS, or shows a certificate that is not trusted. */
const TLS = /^(ERR_SSL_|ERR_TLS_|EPROTO$|CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_)/

/** What an error of the S3 client says about the bucket; undefined when it is about one object, or is not the client's. */
export function bucketFault(error: unknown): BucketFault | undefined {
  if (!(error instanceof Error)) return undefined
  const { name } = error
  const status = statusOf(error)
  if (MISSING.has(name)) return 'missing'
  if (ELSEWHERE.has(name)) return 'elsewhere'
  if (REFUSED.has(name) || status === 401 || status === 403) return 'refused'
  if (TLS.test(codeOf(error))) return 'alien'
  if (status === undefined || status >= 500 || status === 408 || status === 429) return 'away'
  // What the client could not read: no S3 server has written it.
  if (name === 'SyntaxError' || error.message.includes('Deserialization error')) return 'alien'
  return undefined
}

/** What is told of a client's error: its other fields may hold what was sent. */
function plain(cause: unknown): Error | undefined {
  return cause instanceof Error
    ? new Error(`${cause.name} (${statusOf(cause) ?? codeOf(cause)}): ${cause.message}`)
    : undefined
}

/** While the coordinator works every fault is one that may pass: somebody mends it. */
export function whileWorking(fault: BucketFault, cause?: unknown): TapestryError {
  const [message, hint] = SAID[fault]
  return new TapestryError('UNAVAILABLE', message, { cause: plain(cause), hint, retryMs: RETRY_MS })
}

/** At the start most faults are a setting's. */
export function atStart(fault: BucketFault, where: string, cause?: unknown): TapestryError {
  const [message, hint] = SAID[fault]
  const code: ErrorCode = fault === 'away' ? 'UNAVAILABLE' : 'FAILED_PRECONDITION'
  const retry = fault === 'away' ? { retryMs: RETRY_MS } : {}
  return new TapestryError(code, `${where}: ${message}`, { cause: plain(cause), hint, ...retry })
}

/** The HTTP status of an answer that the client turned into an error; undefined when there was no answer. */
export function statusOf(error: unknown): number | undefined {
  if (!(error instanceof Error) || !('$metadata' in error)) return undefined
  const { $metadata: metadata } = error
  const known = typeof metadata === 'object' && metadata !== null && 'httpStatusCode' in metadata
  return known && typeof metadata.httpStatusCode === 'number' ? metadata.httpStatusCode : undefined
}

function codeOf(error: Error): string {
  return 'code' in error && typeof error.code === 'string' ? error.code : ''
}
