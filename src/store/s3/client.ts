import { S3Client } from '@aws-sdk/client-s3'
import type { S3Location } from './location.ts'

const CONNECT_MS = 5_000
/** A connection on which nothing moves for so long is taken for dead. */
const IDLE_MS = 20_000
/** With the client's own pauses, which have jitter: some seconds in all. */
const ATTEMPTS = 4

/**
 * A client for a bucket's server. Credentials are found as every AWS program finds them (environment, profile, the machine's
 * role), and stay in the client.
 */
export function s3Client({ endpoint, region, pathStyle }: S3Location): S3Client {
  // A notice of the client's makers for whoever installs it, not for whoever runs this program.
  process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] ??= 'true'
  const named = region ?? process.env['AWS_REGION'] ?? process.env['AWS_DEFAULT_REGION']
  // A server of one's own has one region, whatever it is called; without any name the client would not start.
  const at = named ?? (endpoint === undefined ? undefined : 'us-east-1')
  return new S3Client({
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(at === undefined ? {} : { region: at }),
    forcePathStyle: pathStyle,
    maxAttempts: ATTEMPTS,
    // What is written carries a SHA-256 of ours and what is read is hashed here: the client's own CRC would be a second one.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    requestHandler: { connectionTimeout: CONNECT_MS, socketTimeout: IDLE_MS },
  })
}
