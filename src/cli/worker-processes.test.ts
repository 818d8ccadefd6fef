import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { pino } from 'pino'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { startWorkerProcesses, type WorkerProcesses } from './worker-processes.ts'

let dir: string
let workers: WorkerProcesses

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'tapestry-workers-'))
})

afterEach(async () => {
  await workers.stop(5_000)
  await rm(dir, { recursive: true })
})

/** A stand-in for the program, which writes down what happens to it: started, woken, ended. */
async function program(onWake: string): Promise<string> {
  const entry = join(dir, 'program.mjs')
  const say = `import { appendFileSync } from 'node:fs'
const say = (what) => appendFileSync(${JSON.stringify(join(dir, 'log'))}, what + '\\n')
say('started ' + process.argv.slice(2).join(' ').replace(${JSON.stringify(dir)}, 'DIR'))
process.stdin.on('data', () => { say('woken'); ${onWake} })
process.stdin.on('end', () => process.exit(0))
`
  await writeFile(entry, say)
  return entry
}

const log = async () => (await readFile(join(dir, 'log'), 'utf8').catch(() => '')).split('\n').filter(Boolean)
/** The test's own time limit ends a wait in vain. */
async function logs(lines: number): Promise<string[]> {
  for (let found = await log(); ; found = await log(), await delay(20)) if (found.length >= lines) return found
}

describe('workers of a coordinator', () => {
  it('are not there before the first wake, and are woken, not doubled, by the next', async () => {
    workers = startWorkerProcesses(2, { dir, env: {}, log: pino({ level: 'silent' }), entry: await program('') })
    await delay(200)
    expect(await log()).toEqual([])
    workers.wake()
    expect(await logs(2)).toEqual(['started worker --dir DIR', 'started worker --dir DIR'])
    workers.wake()
    expect((await logs(4)).slice(2)).toEqual(['woken', 'woken'])
  })

  it('come back by a wake after they have gone to rest', async () => {
    const entry = await program('process.exit(0)')
    workers = startWorkerProcesses(1, { dir, env: {}, log: pino({ level: 'silent' }), entry })
    while ((await log()).filter((line) => line.startsWith('started')).length < 2) {
      workers.wake()
      await delay(50)
    }
    expect(await log()).toContain('woken')
  })

  it('are not started in a tight loop when they die', async () => {
    const entry = await program('process.exit(1)')
    workers = startWorkerProcesses(1, { dir, env: {}, log: pino({ level: 'silent' }), entry })
    workers.wake()
    await logs(1)
    const from = performance.now()
    while ((await log()).filter((line) => line.startsWith('started')).length < 2) {
      workers.wake()
      await delay(20)
    }
    expect(performance.now() - from).toBeGreaterThan(900)
  })
})
