import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { makeTemplate, type Template } from '../kill/federation.ts'
import { killing } from '../kill/schedule.ts'
import { type Outcome, take } from '../kill/take.ts'

/** Workers die while the merge or the decision is near, replicas while they receive. */
const KILLS = [
  { victim: 'worker a', after: 'accepted', count: 3, delayMs: 20, downMs: 0 },
  { victim: 'worker b', after: 'evaluated', count: 3, delayMs: 20, downMs: 0 },
  { victim: 'replica a', after: 'uploading', count: 2, delayMs: 0, downMs: 0 },
  { victim: 'replica b', after: 'uploading', count: 2, delayMs: 0, downMs: 0 },
] as const

let root: string
let template: Template
let undisturbed: Outcome

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'tapestry-replicas-'))
  template = await makeTemplate(join(root, 'template'), KILLS.length)
  undisturbed = await take(template, join(root, 'undisturbed'), () => undefined)
  expect(undisturbed.checkpoints).toHaveLength(KILLS.length)
  expect(undisturbed.checkpoints).not.toContain(null)
}, 600_000)

afterAll(async () => {
  await template?.database.drop()
  await rm(root, { recursive: true, force: true })
})

test('two replicas and two workers, each killed in turn: the same checkpoints, and nothing acknowledged is lost', async () => {
  const killed = await take(
    template,
    join(root, 'killed'),
    killing((round) => KILLS[round - 1]),
  )
  expect(killed).toMatchObject({ checkpoints: undisturbed.checkpoints, lost: [], kills: KILLS.length })
})
