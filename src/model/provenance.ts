import type { KeyObject } from 'node:crypto'
import { z } from 'zod'
import { canonicalBytes, type Json } from '../core/canonical-json.ts'
import type { Digest } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import type { FederationId } from '../core/ids.ts'
import { envelopeSchema, openEnvelope, signEnvelope } from './dsse.ts'
import type { ReleaseKey } from './federation-record.ts'
import {
  descriptorSchema,
  lineOf,
  parseStatement,
  type ResourceDescriptor,
  requireSameFiles,
  sha256,
  statementBytes,
} from './in-toto.ts'
import { type Manifest, mergesOf } from './manifest.ts'
import { parseCanonical } from './parsing.ts'
import { ATTESTATION } from './release-path.ts'

const NAME = ATTESTATION.provenance
const PREDICATE = 'https://slsa.dev/provenance/v1'

/** How the round was held: what the manifest does not repeat. Null for the initial checkpoint, which no round made. */
export type RoundRules = { readonly quorum: number; readonly weighting: string } | null

const predicateSchema = z.looseObject({
  buildDefinition: z.looseObject({ resolvedDependencies: z.array(descriptorSchema) }),
  runDetails: z.looseObject({
    builder: z.looseObject({ id: z.string() }),
    byproducts: z.array(descriptorSchema),
  }),
})

/**
 * attestations/provenance.json: SLSA provenance v1 (slsa.dev/provenance/v1) in a DSSE envelope. The build is a
 * round, the builder the federation, the dependencies are the plan, the base and every merged payload. Holds only
 * facts that a repetition of the round gives again: no times.
 * @param subject the files that the round made
 * @param byproducts documents about the checkpoint that are not signed by themselves
 */
export function provenance(
  manifest: Manifest,
  rules: RoundRules,
  subject: readonly ResourceDescriptor[],
  byproducts: readonly ResourceDescriptor[],
  key: KeyObject,
): Uint8Array {
  const predicate = {
    buildDefinition: {
      buildType: rules === null ? 'tapestry:build/initial/v1' : 'tapestry:build/round/v1',
      externalParameters: externalParameters(manifest, rules),
      resolvedDependencies: dependencies(manifest),
    },
    runDetails: { builder: { id: builderId(manifest.federation) }, byproducts },
  }
  return canonicalBytes(signEnvelope(statementBytes(subject, PREDICATE, predicate), key))
}

/**
 * Proves that the provenance is by one of the keys, about exactly these files and documents, and that it leaves
 * out nothing that the manifest says was merged.
 * @throws TapestryError VERIFICATION_FAILED
 */
export function verifyProvenance(
  bytes: Uint8Array,
  manifest: Manifest,
  subject: readonly ResourceDescriptor[],
  byproducts: readonly ResourceDescriptor[],
  keys: readonly ReleaseKey[],
): void {
  const envelope = parseCanonical(bytes, envelopeSchema, NAME)
  const { payload } = openEnvelope(envelope, keys, NAME)
  const statement = parseStatement(payload, PREDICATE, predicateSchema, NAME)
  requireSameFiles(statement.subject, subject, NAME)
  const { buildDefinition, runDetails } = statement.predicate
  if (runDetails.builder.id !== builderId(manifest.federation)) throw failed('names another federation as the builder')
  const merged = new Set(buildDefinition.resolvedDependencies.map(lineOf))
  if (!dependencies(manifest).every((one) => merged.has(lineOf(one)))) {
    throw failed('leaves out what the manifest says it is of')
  }
  const documents = new Set(runDetails.byproducts.map(lineOf))
  for (const one of byproducts) {
    if (!documents.has(lineOf(one))) {
      throw new TapestryError('VERIFICATION_FAILED', `${one.name} is not the one that ${NAME} names`)
    }
  }
}

function externalParameters({ run, round, plan, strategy }: Manifest, rules: RoundRules): Json {
  const always = { run, round, plan, strategy }
  return rules === null ? always : { ...always, weighting: rules.weighting, quorum: rules.quorum }
}

function dependencies(manifest: Manifest): readonly ResourceDescriptor[] {
  const { plan, base, revision } = manifest
  const nameOf = (round: number, node: string) =>
    revision === undefined ? `contribution/${node}` : `contribution/${round}/${node}`
  return [
    dependency('plan', plan, 'plan'),
    ...(base === null ? [] : [dependency('base', base, 'checkpoint')]),
    ...mergesOf(manifest).flatMap(({ round, contributions }) =>
      contributions.map(({ id, node, member, payload, weight }) => ({
        ...dependency(nameOf(round, node), payload, 'payload'),
        annotations: { contribution: id, member, weight },
      })),
    ),
  ]
}

function dependency(name: string, digest: Digest, kind: string): ResourceDescriptor {
  return { name, uri: `tapestry:${kind}/${digest}`, digest: sha256(digest) }
}

/** A federation is named by the fingerprint of its authority. */
const builderId = (federation: FederationId) => `tapestry:federation/${federation}`

const failed = (problem: string) => new TapestryError('VERIFICATION_FAILED', `${NAME} ${problem}`)
