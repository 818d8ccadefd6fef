import { describe, expect, it } from 'vitest'
import { bar, displayWidth, formatBytes, paint, printable, sparkline, table, terminalOf } from './terminal.ts'

describe('terminalOf', () => {
  it('shows colour only on a terminal without NO_COLOR', () => {
    expect(terminalOf({ isTTY: true, columns: 100 }, {})).toEqual({ live: true, colour: true, columns: 100 })
    expect(terminalOf({ isTTY: true }, { NO_COLOR: '1' })).toMatchObject({ live: true, colour: false })
    expect(terminalOf({ isTTY: true }, { NO_COLOR: '' }).colour).toBe(true)
    expect(terminalOf({}, {})).toEqual({ live: false, colour: false, columns: 80 })
    expect(terminalOf({ isTTY: true }, { TERM: 'dumb' })).toMatchObject({ live: false, colour: false })
  })
})

describe('paint', () => {
  it('leaves text alone without colour', () => {
    expect(paint({ live: false, colour: false, columns: 80 }, 'red', 'x')).toBe('x')
    expect(paint({ live: true, colour: true, columns: 80 }, 'red', 'x')).toBe('\u001b[31mx\u001b[39m')
  })
})

describe('printable', () => {
  it('takes out what could rewrite a terminal', () => {
    expect(printable('a\u001b[2Jb\u202ec\n')).toBe('a\ufffd[2Jb\ufffdc\ufffd')
    expect(printable('Tiếng Việt')).toBe('Tiếng Việt')
  })
})

describe('displayWidth', () => {
  it('counts columns, not code units', () => {
    expect(displayWidth('abc')).toBe(3)
    expect(displayWidth('e\u0301')).toBe(1)
    expect(displayWidth('日本')).toBe(4)
    expect(displayWidth('\u001b[1mab\u001b[22m')).toBe(2)
  })
})

describe('table', () => {
  it('aligns columns', () => {
    const text = table(
      [{ title: 'A' }, { title: 'N', align: 'right' }],
      [
        ['日本', '1'],
        ['x', '1000'],
      ],
    )
    expect(text).toBe('A        N\n日本     1\nx     1000')
  })
})

describe('bar', () => {
  it('always has its width', () => {
    for (const fraction of [-1, 0, 0.01, 0.5, 0.99, 1, 7, Number.NaN]) expect([...bar(fraction, 10)]).toHaveLength(10)
    expect(bar(0.5, 4)).toBe('██░░')
    expect(bar(1, 4)).toBe('████')
  })
})

describe('sparkline', () => {
  it('spans least to largest', () => {
    expect(sparkline([3, 2, 1])).toBe('█▅▁')
    expect(sparkline([1, 1])).toBe('▁▁')
  })
})

it('formats sizes', () => {
  expect([0, 1023, 1024, 5 * 2 ** 30].map(formatBytes)).toEqual(['0 B', '1023 B', '1.0 KiB', '5.0 GiB'])
})
