/** What a checkpoint directory holds besides the manifest's files: these sign and explain the rest. */
export const SIDECARS = ['manifest.json', 'manifest.sig', 'federation.json'] as const

/** What stands beside them once it is known that a revocation took the checkpoint back: docs/REVOCATION.md. */
export const SUPERSEDED = 'superseded.json'

/** What it may hold on top, all or none, for other people's tools: see docs/PROVENANCE.md. */
export const ATTESTATION = {
  modelSignature: 'model.sig',
  provenance: 'attestations/provenance.json',
  bom: 'attestations/bom.cdx.json',
  trainingContent: 'attestations/training-content.json',
} as const

export type AttestationPath = (typeof ATTESTATION)[keyof typeof ATTESTATION]
export const ATTESTATIONS: readonly AttestationPath[] = Object.values(ATTESTATION)

/** Names at the top of a checkpoint directory that no released file may have. */
const RESERVED: ReadonlySet<string | undefined> = new Set(
  [...SIDECARS, SUPERSEDED, ...ATTESTATIONS].map((path) => path.split('/')[0]),
)

/** ASCII only, so that case folding and Unicode forms differ on no file system; no hidden names. */
const SEGMENT = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/
const MAX_PATH = 512

/** True for a relative path with `/` that stays in its directory on every system and is no sidecar or attestation. */
export function isReleasePath(path: string): boolean {
  const segments = path.split('/')
  if (path.length > MAX_PATH || !segments.every((segment) => SEGMENT.test(segment) && !segment.endsWith('.'))) {
    return false
  }
  return !RESERVED.has(segments[0]?.toLowerCase())
}

/** The first path that another one equals but for case, or lies inside of; undefined when all can exist together. */
export function findPathClash(paths: readonly string[]): string | undefined {
  const seen = new Set<string>()
  const directories = new Set(paths.flatMap(directoriesOf).map((path) => path.toLowerCase()))
  for (const path of paths) {
    const folded = path.toLowerCase()
    if (seen.has(folded) || directories.has(folded)) return path
    seen.add(folded)
  }
  return undefined
}

/** The directories above a relative path: `a/b/c` gives `a` and `a/b`. */
export function directoriesOf(path: string): string[] {
  const segments = path.split('/')
  return segments.slice(1).map((_, index) => segments.slice(0, index + 1).join('/'))
}
