import { createHash, type KeyObject } from 'node:crypto'
import { z } from 'zod'
import { canonicalBytes } from '../core/canonical-json.ts'
import { TapestryError } from '../core/error.ts'
import { compareText } from '../core/order.ts'
import { publicKeyFromPem } from '../core/signature.ts'
import { type Envelope, envelopeSchema, openEnvelope, signEnvelope } from './dsse.ts'
import type { ReleaseKey } from './federation-record.ts'
import { parseStatement, type ResourceDescriptor, requireSameFiles, statementBytes } from './in-toto.ts'
import { parseCanonical } from './parsing.ts'
import { ATTESTATION } from './release-path.ts'

const NAME = ATTESTATION.modelSignature
const PREDICATE = 'https://model_signing/signature/v1.0'
const BUNDLE = 'application/vnd.dev.sigstore.bundle.v0.3+json'

/**
 * What a verifier leaves out of account. federation.json is signed by the authority itself, and comes
 * in a new edition when a certificate is renewed or a release key added: a signature over it would not last.
 */
const IGNORED = [
  '.cache',
  '.git',
  '.gitattributes',
  '.github',
  '.gitignore',
  'attestations',
  'federation.json',
  NAME,
] as const

const bundleSchema = z.strictObject({
  mediaType: z.literal(BUNDLE),
  verificationMaterial: z.strictObject({
    publicKey: z.strictObject({ hint: z.string().regex(/^[0-9a-f]{64}$/) }),
    tlogEntries: z.tuple([]),
  }),
  dsseEnvelope: envelopeSchema,
})

const predicateSchema = z.looseObject({
  serialization: z.looseObject({ method: z.literal('files'), hash_type: z.literal('sha256') }),
  resources: z.array(
    z.looseObject({
      name: z.string(),
      algorithm: z.literal('sha256'),
      digest: z.string().regex(/^[0-9a-f]{64}$/),
    }),
  ),
})

/**
 * model.sig: the files signed as OpenSSF Model Signing v1.0 does (sigstore/model-transparency, method `key`): a
 * Sigstore bundle v0.3 with one in-toto statement, whose subject is the SHA-256 over the files' digests in order.
 * @param name names the model; verifiers do not compare it
 */
export function modelSignature(
  name: string,
  files: readonly ResourceDescriptor[],
  key: { readonly privateKey: KeyObject; readonly publicKey: KeyObject },
): Uint8Array {
  const resources = [...files]
    .sort((a, b) => compareText(orderOf(a), orderOf(b)))
    .map((file) => ({ name: file.name, algorithm: 'sha256', digest: file.digest.sha256 }))
  const payload = statementBytes([{ name, digest: { sha256: rootOf(resources) } }], PREDICATE, {
    resources,
    serialization: { method: 'files', hash_type: 'sha256', allow_symlinks: false, ignore_paths: [...IGNORED] },
  })
  const dsseEnvelope: Envelope = signEnvelope(payload, key.privateKey)
  const verificationMaterial = { publicKey: { hint: hintOf(key.publicKey) }, tlogEntries: [] }
  return canonicalBytes({ mediaType: BUNDLE, verificationMaterial, dsseEnvelope })
}

/**
 * Proves that model.sig is by one of the keys and names exactly these files.
 * @throws TapestryError VERIFICATION_FAILED
 */
export function verifyModelSignature(
  bytes: Uint8Array,
  files: readonly ResourceDescriptor[],
  keys: readonly ReleaseKey[],
): void {
  const { verificationMaterial, dsseEnvelope } = parseCanonical(bytes, bundleSchema, NAME)
  const { payload, key } = openEnvelope(dsseEnvelope, keys, NAME)
  if (verificationMaterial.publicKey.hint !== hintOf(publicKeyFromPem(key.publicKey))) {
    throw failed('hints at another key than the one that signed it')
  }
  const { subject, predicate } = parseStatement(payload, PREDICATE, predicateSchema, NAME)
  const resources = predicate.resources.map(({ name, digest }) => ({ name, digest: { sha256: digest } }))
  requireSameFiles(resources, files, NAME)
  const [model, ...others] = subject
  if (others.length > 0 || model?.digest.sha256 !== rootOf(predicate.resources)) {
    throw failed('does not have the digest of its own files')
  }
}

function rootOf(resources: readonly { readonly digest: string }[]): string {
  const hash = createHash('sha256')
  for (const { digest } of resources) hash.update(Buffer.from(digest, 'hex'))
  return hash.digest('hex')
}

/** Hex SHA-256 of the key's PEM, by which the reference finds that it was given another key. */
function hintOf(publicKey: KeyObject): string {
  return createHash('sha256')
    .update(publicKey.export({ type: 'spki', format: 'pem' }))
    .digest('hex')
}

/** Paths in order of their segments, as the reference sorts them. */
const orderOf = ({ name }: ResourceDescriptor) => name.replaceAll('/', '\0')
const failed = (problem: string) => new TapestryError('VERIFICATION_FAILED', `${NAME} ${problem}`)
