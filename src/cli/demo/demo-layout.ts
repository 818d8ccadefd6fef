import { mkdir, mkdtemp, readdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { TapestryError } from '../../core/error.ts'

/** Where everything of one demonstration is. */
export type DemoLayout = {
  readonly root: string
  readonly coordinator: string
  readonly nodes: string
  readonly text: string
  readonly logs: string
  /** Settings and trust of the stranger who pulls: none of the user's own. */
  readonly config: string
  readonly model: string
}

/** Makes the directory that was asked for, or one of its own. @throws TapestryError ALREADY_EXISTS when it is not empty. */
export async function createLayout(keep: string | undefined): Promise<DemoLayout> {
  const root = keep === undefined ? await mkdtemp(join(tmpdir(), 'tapestry-demo-')) : resolve(keep)
  await mkdir(root, { recursive: true })
  if ((await readdir(root)).length > 0) {
    throw new TapestryError('ALREADY_EXISTS', `${root} is not empty`, { hint: 'choose a new directory for --keep' })
  }
  const within = (name: string) => join(root, name)
  const layout = {
    root,
    coordinator: within('coordinator'),
    nodes: within('nodes'),
    text: within('text'),
    logs: within('logs'),
    config: within('config'),
    model: within('model'),
  }
  for (const path of [layout.nodes, layout.text, layout.logs, layout.config]) await mkdir(path)
  return layout
}
