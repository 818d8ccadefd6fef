import { describe, expect, it } from 'vitest'
import { systemClock } from '../core/clock.ts'
import { COMMANDS, commandPaths } from './commands.ts'
import { createProgram } from './program.ts'

async function help(...words: string[]): Promise<string> {
  let text = ''
  const sink = { write: (more: string) => (text += more) }
  const surroundings = {
    stdout: sink,
    stderr: sink,
    env: {},
    clock: systemClock,
    stopSignal: () => AbortSignal.timeout(1),
  }
  const program = await createProgram([...words, '--help'], surroundings)
  await expect(program.parseAsync([...words, '--help'], { from: 'user' })).rejects.toMatchObject({ exitCode: 0 })
  return text
}

describe('createProgram', () => {
  it('lists every command and group', async () => {
    const text = await help()
    for (const path of COMMANDS.keys()) expect(text).toMatch(new RegExp(`^  ${path.split(' ')[0]} .*\\w`, 'm'))
  })

  it.each([...COMMANDS.keys()])('%s has --json and --quiet, and is what it is registered as', async (path) => {
    expect((await COMMANDS.get(path)?.())?.path).toBe(path)
    const text = await help(...path.split(' '))
    expect(text).toContain(`Usage: tapestry ${path}`)
    expect(text).toContain('--json')
    expect(text).toContain('--quiet')
  })
})

describe('commandPaths', () => {
  it('loads no more than is meant', () => {
    expect(commandPaths(['round', 'inspect', 'demo/1'])).toEqual(['round inspect'])
    expect(commandPaths(['contributions', '--by', 'node'])).toEqual(['contributions'])
    expect(commandPaths(['round', '--help'])).toEqual(['round start', 'round ls', 'round override', 'round inspect'])
    expect(commandPaths(['nonsense'])).toEqual([...COMMANDS.keys()])
    expect(commandPaths([])).toEqual([...COMMANDS.keys()])
  })
})
