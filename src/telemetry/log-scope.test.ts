import { setTimeout as delay } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { createLog } from '../cli/log.ts'
import { inLogScope } from './log-scope.ts'

describe('a log scope', () => {
  it('is said by every line of what it holds, however late, and by no other', async () => {
    const lines: Record<string, unknown>[] = []
    const stderr = { write: (line: string) => lines.push(JSON.parse(line)) }
    const log = createLog({ flag: 'debug', env: {}, quiet: false, stderr })
    const work = async (what: string) => {
      log.info(what)
      await delay(1)
      log.child({ part: 2 }).debug(what)
    }
    await Promise.all([
      inLogScope({ requestId: 'mine' }, () => work('one')),
      inLogScope({ job: 'decide/run/1' }, () => work('two')),
      work('three'),
    ])
    const said = (what: string) =>
      lines.filter(({ msg }) => msg === what).map(({ requestId, job }) => ({ requestId, job }))
    expect(said('one')).toEqual([{ requestId: 'mine' }, { requestId: 'mine' }])
    expect(said('two')).toEqual([{ job: 'decide/run/1' }, { job: 'decide/run/1' }])
    expect(said('three')).toEqual([{}, {}])
  })
})
