import { describe, expect, it } from 'vitest'
import { LiveRegion } from './live-region.ts'

const ESCAPE = String.fromCharCode(27)
const TOKEN = new RegExp(`${ESCAPE}\\[\\d*[A-Zm]|\\n|[^${ESCAPE}\\n]+`, 'g')

/** As much of a terminal as the region uses: going up, clearing below, and new lines. */
class Screen {
  lines: string[] = ['']
  #row = 0

  write(text: string): void {
    for (const [token] of text.matchAll(TOKEN)) {
      if (token === '\n') this.#down()
      else if (token.endsWith('A') && token.startsWith(ESCAPE)) this.#row -= Number.parseInt(token.slice(2), 10)
      else if (token === `${ESCAPE}[0J`) this.lines.length = this.#row
      else if (!token.startsWith(ESCAPE)) this.lines[this.#row] = `${this.lines[this.#row] ?? ''}${token}`
      this.lines[this.#row] ??= ''
    }
  }

  #down(): void {
    this.#row += 1
    this.lines[this.#row] ??= ''
  }
}

function regionOn(columns = 20) {
  const screen = new Screen()
  let now = 0
  const region = new LiveRegion(screen, { live: true, colour: false, columns }, () => now)
  return { screen, region, wait: (ms: number) => (now += ms) }
}

describe('LiveRegion', () => {
  it('redraws in place, not too often', () => {
    const { screen, region, wait } = regionOn()
    region.draw(['a 1', 'b 1'])
    region.draw(['a 2', 'b 2'])
    expect(screen.lines).toEqual(['a 1', 'b 1', ''])
    wait(1000)
    region.draw(['a 3', 'b 3'])
    expect(screen.lines).toEqual(['a 3', 'b 3', ''])
  })

  it('keeps what is printed, above what is drawn next', () => {
    const { screen, region } = regionOn()
    region.draw(['bar', 'bar'])
    region.print('one\ntwo\nthree')
    region.draw(['bar'])
    region.print('four')
    region.clear()
    expect(screen.lines).toEqual(['one', 'two', 'three', 'four', ''])
  })

  it('cuts lines that would wrap', () => {
    const { screen, region } = regionOn(6)
    region.draw(['1234567890'])
    expect(screen.lines[0]).toBe('1234')
  })
})
