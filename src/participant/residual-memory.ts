import { mkdir, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type Digest, fromHex, hexOf } from '../core/digest.ts'
import { ensureRoundNumber, type RunId } from '../core/ids.ts'
import { fileError } from '../model/whole-file.ts'
import type { NodeDirectory } from './node-directory.ts'
import { syncDirectory } from './private-file.ts'

/** What would be left out if a round's contribution with this payload is accepted. */
export type Pending = { readonly number: number; readonly payload: Digest }

const SETTLED = 'settled.safetensors'
const PENDING = /^([1-9][0-9]{0,9})\.([0-9a-f]{64})\.safetensors$/

/**
 * What the updates of a run have left out so far: the memory of error feedback, in `residual` beside the
 * run's rounds. Only what was accepted counts: a residual waits under its round and payload, and takes
 * the place of the last one by a rename when the contribution is accepted. So a contribution that is
 * refused, lost or made again neither loses nor doubles anything.
 */
export class ResidualMemory {
  readonly #path: string
  /** Where the next residual is written before its payload is known. */
  readonly draftPath: string

  constructor(directory: NodeDirectory, run: RunId) {
    this.#path = join(directory.roundsPath, run, 'residual')
    this.draftPath = join(this.#path, 'draft.safetensors')
  }

  /** Makes its folder. @throws TapestryError DISK_FULL */
  async prepare(): Promise<void> {
    await mkdir(this.#path, { recursive: true, mode: 0o700 }).catch((cause) => {
      throw fileError(this.#path, cause)
    })
    await syncDirectory(join(this.#path, '..'))
  }

  /** Path of what accepted updates have left out; undefined before the first. */
  async settled(): Promise<string | undefined> {
    return (await this.#names()).includes(SETTLED) ? join(this.#path, SETTLED) : undefined
  }

  /** Residuals whose contributions were not heard of again, by round. */
  async pending(): Promise<Pending[]> {
    const found = (await this.#names()).flatMap((name): Pending[] => {
      const [, number, payload] = PENDING.exec(name) ?? []
      if (number === undefined || payload === undefined) return []
      return [{ number: ensureRoundNumber(Number(number)), payload: fromHex(payload) }]
    })
    return found.sort((a, b) => a.number - b.number)
  }

  async has({ number, payload }: Pending): Promise<boolean> {
    return (await this.pending()).some((pending) => pending.number === number && pending.payload === payload)
  }

  /** Gives the draft its name. */
  async keep(pending: Pending): Promise<void> {
    await rename(this.draftPath, this.#pathOf(pending))
    await syncDirectory(this.#path)
  }

  /** Says what became of a contribution. A residual that is not there changes nothing. */
  async settle(pending: Pending, accepted: boolean): Promise<void> {
    if (!(await this.has(pending))) return
    if (accepted) await rename(this.#pathOf(pending), join(this.#path, SETTLED))
    else await rm(this.#pathOf(pending), { force: true })
    await syncDirectory(this.#path)
  }

  /** Begins anew: what was left out is no longer known. */
  async forget(): Promise<void> {
    await rm(this.#path, { recursive: true, force: true })
  }

  async #names(): Promise<string[]> {
    return readdir(this.#path).catch(() => [])
  }

  #pathOf({ number, payload }: Pending): string {
    return join(this.#path, `${number}.${hexOf(payload)}.safetensors`)
  }
}
