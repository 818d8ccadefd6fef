import { mkdir, mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { textLines } from './text-lines.ts'

async function linesOf(path: string): Promise<string[]> {
  const lines: string[] = []
  for await (const line of textLines(path)) lines.push(line)
  return lines
}

describe('textLines', () => {
  it('reads across chunk borders, leaving blank lines out', async () => {
    const path = join(await mkdtemp(join(tmpdir(), 'lines-')), 'vi.txt')
    const lines = Array.from({ length: 20_000 }, (_, index) => `Tiếng Việt ${index}`)
    await writeFile(path, `\n  \n${lines.join('\r\n\n')}`)
    expect(await linesOf(path)).toEqual(lines)
  })

  it('reads the .txt files of a directory in order', async () => {
    const directory = join(await mkdtemp(join(tmpdir(), 'lines-')), 'vi')
    await mkdir(directory)
    await writeFile(join(directory, 'b.txt'), 'second')
    await writeFile(join(directory, 'a.txt'), 'first\n')
    await writeFile(join(directory, 'c.md'), 'other')
    expect(await linesOf(directory)).toEqual(['first', 'second'])
  })

  it('refuses what is not UTF-8, also at the end', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'lines-'))
    for (const [name, bytes] of [
      ['middle.txt', [0x61, 0xff, 0x62]],
      ['end.txt', [0x61, 0xe1, 0xba]],
    ] as const) {
      await writeFile(join(directory, name), Buffer.from(bytes))
      await expect(linesOf(join(directory, name))).rejects.toMatchObject({ code: 'DATA_INVALID' })
    }
  })
})
