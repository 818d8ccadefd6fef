import { mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Command } from 'commander'
import { beforeEach, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { systemClock } from '../core/clock.ts'
import { defineCommand, setting } from './command.ts'
import { communityPairs, duration, languageTags, roundKey, wholeNumber } from './input.ts'

const definition = defineCommand({
  path: 'thing do',
  summary: 'do it',
  arguments: [{ name: '[what]', description: 'what' }],
  options: [
    setting('--dir <directory>', 'where'),
    setting('--count <n>', 'how many'),
    setting('--wait <duration>', 'how long'),
  ],
  input: z.object({
    what: z.literal('it').optional(),
    dir: z.string().default('default'),
    count: wholeNumber(1, 10).optional(),
    wait: duration.optional(),
  }),
  run: async (input) => ({ json: input, text: `dir ${input.dir}` }),
})

let settings: string
let written: { stdout: string; stderr: string }

async function run(args: string[], env: Record<string, string> = {}): Promise<unknown> {
  written = { stdout: '', stderr: '' }
  const program = new Command('tapestry').exitOverride().configureOutput({ writeErr: () => undefined })
  definition.attach(program, {
    env: { TAPESTRY_CONFIG: settings, ...env },
    clock: systemClock,
    stopSignal: () => new AbortController().signal,
    stdout: { write: (text: string) => (written.stdout += text) },
    stderr: { write: (text: string) => (written.stderr += text) },
  })
  for (const command of program.commands) command.copyInheritedSettings(program)
  const before = { ...process.env }
  Object.assign(process.env, env)
  try {
    await program.parseAsync(['do', ...args], { from: 'user' })
  } finally {
    process.env = before
  }
  return args.includes('--json') ? JSON.parse(written.stdout) : written.stdout
}

beforeEach(async () => {
  settings = join(await mkdtemp(join(tmpdir(), 'settings-')), 'config.yaml')
})

describe('precedence', () => {
  it('is flag, environment, file, default', async () => {
    expect(await run(['--json'])).toMatchObject({ dir: 'default' })
    await writeFile(settings, 'dir: file\ncount: 3\nunknown: 1\n')
    expect(await run(['--json'])).toMatchObject({ dir: 'file', count: 3 })
    expect(await run(['--json'], { TAPESTRY_DIR: 'environment' })).toMatchObject({ dir: 'environment' })
    expect(await run(['--json', '--dir', 'flag'], { TAPESTRY_DIR: 'environment' })).toMatchObject({ dir: 'flag' })
  })

  it('refuses a settings file that is not a map', async () => {
    await writeFile(settings, '- a\n')
    await expect(run([])).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    await writeFile(settings, 'a: [')
    await expect(run([])).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })
})

describe('input', () => {
  it('reaches the command parsed, with arguments by name', async () => {
    expect(await run(['it', '--count', '7', '--wait', '10m', '--json'])).toEqual({
      what: 'it',
      dir: 'default',
      count: 7,
      wait: 600_000,
    })
    expect(await run(['--dir', 'x'])).toBe('dir x\n')
  })

  it.each([['--count', '11'], ['--count', '1.5'], ['--count', '-1'], ['--wait', '10'], ['--nonsense'], ['a', 'b']])(
    'refuses %s %s',
    async (...args) => {
      await expect(run(args)).rejects.toMatchObject({
        code: expect.stringMatching(/INVALID_ARGUMENT|commander\.(unknownOption|excessArguments)/),
      })
    },
  )
})

describe('a refused value', () => {
  it('is named as it was written: an option with dashes, an argument without', async () => {
    await expect(run(['no', '--count', '1'])).rejects.toThrow(/^<what>: /)
    await expect(run(['it', '--count', '11'])).rejects.toThrow(/^--count: /)
  })
})

describe('values', () => {
  it('reads rounds, languages and communities', () => {
    expect(roundKey.parse('demo/3')).toEqual({ run: 'demo', number: 3 })
    for (const bad of ['demo', 'demo/', '/3', 'demo/0', 'demo/x', 'De mo/1', 'demo/1e2']) {
      expect(roundKey.safeParse(bad).success, bad).toBe(false)
    }
    expect(languageTags.parse('vi, sw,vi')).toEqual(['vi', 'sw'])
    expect(languageTags.safeParse('vi,nonsense').success).toBe(false)
    expect(communityPairs.parse(['quz=Q’ero'])).toEqual([{ language: 'quz', community: 'Q’ero' }])
    expect(communityPairs.safeParse(['quz']).success).toBe(false)
  })
})
