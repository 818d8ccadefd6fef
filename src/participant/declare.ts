import { createPublicKey } from 'node:crypto'
import { stat } from 'node:fs/promises'
import { status } from '@grpc/grpc-js'
import { type Digest, digestOf } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import { DOMAINS, type Domain, keyIdOf, signMessage } from '../core/signature.ts'
import { contentOf } from '../engine/content.ts'
import { type DataSource, filesOf } from '../engine/sources.ts'
import { RecordService } from '../gen/proto/tapestry/v1/record_pb.ts'
import {
  type DatasetRecord,
  datasetRecordBytes,
  parseDatasetRecord,
  withdrawalBytes,
} from '../policy/dataset-record.ts'
import { type Dataset, readDatasets, type SignedText, writeSigned, writeWithdrawal } from './dataset-file.ts'
import type { NodeContext } from './node-context.ts'
import { keepSaid } from './said.ts'
import { signatureMessage } from './wire.ts'

/** A dataset as the coordinator knows it. */
export type Declared = {
  readonly record: DatasetRecord
  readonly digest: Digest
  readonly sources: readonly DataSource[]
  readonly withdrawn: boolean
}

/** What declaring needs of a node. */
export type Declarant = Pick<NodeContext, 'directory' | 'client' | 'nodeKey' | 'policy'>

/** Declares the node's datasets to its coordinator, again whenever their files or their text have changed. */
export class DatasetBook {
  readonly #node: Declarant
  #known: { readonly state: string; readonly declared: readonly Declared[] } | undefined
  /** Two runs that ask at once are answered one after the other. */
  #queue: Promise<unknown> = Promise.resolve()

  constructor(node: Declarant) {
    this.#node = node
  }

  /**
   * Every dataset with text, registered, and every withdrawal told.
   * @returns undefined when the coordinator is older than dataset records
   * @throws TapestryError DATA_INVALID for a record or text that cannot be read; UNAVAILABLE
   */
  declare(signal: AbortSignal): Promise<readonly Declared[] | undefined> {
    const next = this.#queue.then(() => this.#declare(signal))
    this.#queue = next.catch(() => undefined)
    return next
  }

  async #declare(signal: AbortSignal): Promise<readonly Declared[] | undefined> {
    const datasets = await readDatasets(this.#node.directory)
    const { sources } = await this.#node.directory.read()
    const state = JSON.stringify([datasets, await stampsOf(sources)])
    if (this.#known?.state === state) return this.#known.declared
    try {
      const declared: Declared[] = []
      for (const dataset of datasets) {
        const own = sources.filter(({ record }) => record === dataset.terms.id)
        if (own.length > 0) declared.push(await declareOne(this.#node, dataset, own, signal))
      }
      this.#known = { state, declared }
      return declared
    } catch (error) {
      if (isUnimplemented(error)) return undefined
      throw error
    }
  }
}

/** True for a method that the other side does not know. */
export function isUnimplemented(error: unknown): boolean {
  if (!(error instanceof TapestryError) || !(error.cause instanceof Error)) return false
  return 'code' in error.cause && error.cause.code === status.UNIMPLEMENTED
}

/** Changes when text does, at the price of asking the file system. */
async function stampsOf(sources: readonly DataSource[]): Promise<unknown[]> {
  const files = (await Promise.all(sources.map(filesOf))).flat()
  return Promise.all(files.map(async (path) => [path, (await stat(path)).mtimeMs, (await stat(path)).size]))
}

async function declareOne(
  node: Declarant,
  dataset: Dataset,
  sources: readonly DataSource[],
  signal: AbortSignal,
): Promise<Declared> {
  const { federation, node: id } = node.client.membership
  const content = await contentOf(sources, node.policy.exclusions)
  const bytes = datasetRecordBytes({ ...dataset.terms, federation, node: id, content })
  await register(node, dataset, bytes, signal)
  const { withdrawal } = dataset
  if (withdrawal !== undefined) await tellWithdrawal(node, dataset, signal)
  return { record: parseDatasetRecord(bytes), digest: digestOf(bytes), sources, withdrawn: withdrawal !== undefined }
}

async function register(node: Declarant, { terms, record }: Dataset, bytes: Uint8Array, signal: AbortSignal) {
  const text = Buffer.from(bytes).toString('utf8')
  if (record?.text === text && record.told) return
  const signed = record?.text === text && isOurs(node, record) ? record : signedText(node, DOMAINS.record, bytes)
  const request = { record: bytes, signature: signatureMessage(signed.signature) }
  await node.client.call(RecordService.method.registerRecord, request, { signal })
  await keepSaid(node.directory, { kind: 'record', text, signatures: [signed.signature] })
  await writeSigned(node.directory, terms.id, { ...signed, told: true })
}

/** Signs a withdrawal and keeps it: from now on this node does not train on the dataset, whoever has been told. */
export async function withdraw(node: Declarant, { terms }: Dataset, day: string): Promise<void> {
  const { federation, node: id } = node.client.membership
  const bytes = withdrawalBytes({ federation, node: id, id: terms.id, withdrawn: day })
  await writeWithdrawal(node.directory, terms.id, signedText(node, DOMAINS.withdrawal, bytes))
}

/** Tells the coordinator of a withdrawal that it may not know. @throws TapestryError UNAVAILABLE */
export async function tellWithdrawal(
  node: Declarant,
  { terms, withdrawal }: Pick<Dataset, 'terms' | 'withdrawal'>,
  signal?: AbortSignal,
): Promise<void> {
  if (withdrawal === undefined || withdrawal.told) return
  const bytes = Buffer.from(withdrawal.text, 'utf8')
  const { signature } = isOurs(node, withdrawal) ? withdrawal : signedText(node, DOMAINS.withdrawal, bytes)
  const request = { withdrawal: bytes, signature: signatureMessage(signature) }
  await node.client.call(RecordService.method.withdrawRecord, request, { signal })
  await keepSaid(node.directory, { kind: 'withdrawal', text: withdrawal.text, signatures: [signature] })
  await writeWithdrawal(node.directory, terms.id, { ...withdrawal, told: true })
}

/** Signed by the key that the node has now; what a retired key signed is refused. */
function isOurs({ nodeKey }: Declarant, { signature }: SignedText): boolean {
  return signature.keyId === keyIdOf(createPublicKey(nodeKey))
}

function signedText({ nodeKey }: Declarant, domain: Domain, bytes: Uint8Array): SignedText {
  const signature = signMessage(nodeKey, domain, bytes)
  return { text: Buffer.from(bytes).toString('utf8'), signature, told: false }
}
