import { hostname } from 'node:os'
import { TapestryError } from '../core/error.ts'
import type { LanguageTag } from '../core/language-tag.ts'
import { loadDataset } from '../engine/dataset.ts'
import { type DataSource, discoverSources } from '../engine/sources.ts'
import { addDataset, ensureDeclares, readTermsBeside } from '../participant/datasets.ts'
import { createNodeDirectory, type NodeDirectory, openNodeDirectory } from '../participant/node-directory.ts'

/** Plans bring their own; what is empty, unreadable or too little is so under any. */
const ANY_SPLIT = { seed: 0, heldOutFraction: 0.1 }

export type Community = { readonly language: LanguageTag; readonly community: string }

/**
 * Makes a node over the text in a folder, and its first dataset when a `tapestry.yaml` lies beside the text.
 * @throws TapestryError ALREADY_EXISTS, DATA_INVALID, INVALID_ARGUMENT.
 */
export async function initNode(options: {
  readonly root: string
  readonly data: string
  readonly name: string | undefined
  readonly communities: readonly Community[]
}): Promise<NodeDirectory> {
  const sources = withCommunities(await discoverSources(options.data), options.communities)
  // Text that no round could use is found out now, while its owner is looking.
  await loadDataset(sources, ANY_SPLIT)
  const beside = await readTermsBeside(options.data)
  if (beside !== undefined) ensureDeclares(beside, sources)
  const directory = await createNodeDirectory(options.root, { name: options.name ?? hostname(), sources })
  if (beside !== undefined) await addDataset(directory, beside, sources)
  return directory
}

/** Opens a node; makes it first when there is none yet and text was named. */
export async function openOrInitNode(options: {
  readonly root: string
  readonly data: string | undefined
  readonly name: string | undefined
  readonly communities: readonly Community[]
}): Promise<NodeDirectory> {
  try {
    return await openNodeDirectory(options.root)
  } catch (error) {
    if (!(error instanceof TapestryError) || error.code !== 'NOT_FOUND') throw error
    const { data } = options
    if (data !== undefined) return initNode({ ...options, data })
    throw new TapestryError('NOT_FOUND', error.message, { cause: error, hint: 'name your text with --data DIR' })
  }
}

function withCommunities(sources: readonly DataSource[], communities: readonly Community[]): DataSource[] {
  const stray = communities.find(({ language }) => !sources.some((source) => source.language === language))
  if (stray !== undefined) {
    throw new TapestryError('INVALID_ARGUMENT', `--community names ${stray.language}, which the text does not have`)
  }
  return sources.map((source) => {
    const community = communities.find(({ language }) => language === source.language)?.community
    return community === undefined ? source : { ...source, community }
  })
}
