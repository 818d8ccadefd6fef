import { pino } from 'pino'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { testDatabase } from '../../test/postgres.ts'
import { freePort, hasRedis, testRedis } from '../../test/redis.ts'
import { openWakeQueue, type WakeBackend, type WakeQueue } from './driver.ts'

const silent = pino({ level: 'silent' })

function wakesOn(name: string, start: () => Promise<{ at: WakeBackend; end(): Promise<void> }>): void {
  describe(name, () => {
    let at: WakeBackend
    let end: () => Promise<void>
    const open: WakeQueue[] = []

    beforeAll(async () => {
      const started = await start()
      at = started.at
      end = started.end
    })

    // One test's consumer must not take another test's wakes.
    afterEach(async () => void (await Promise.all(open.splice(0).map((queue) => queue.close()))))

    afterAll(() => end())

    const queue = async () => {
      const made = await openWakeQueue(at, silent)
      open.push(made)
      return made
    }

    it('wakes a consumer in another connection, again and again', async () => {
      const sender = await queue()
      let wakes = 0
      let woken = () => {}
      const consumer = await queue()
      consumer.consume(async () => {
        wakes += 1
        woken()
      }, 1)
      for (let turn = 1; turn <= 3; turn += 1) {
        const heard = new Promise<void>((resolve) => {
          woken = resolve
        })
        sender.wake(`aggregate/swahili/${turn}`)
        await heard
        expect(wakes).toBeGreaterThanOrEqual(turn)
      }
    })

    it('runs no more consumers at a time than asked, and goes on after one that failed', async () => {
      const sender = await queue()
      const consumer = await queue()
      let running = 0
      let most = 0
      let calls = 0
      await new Promise<void>((resolve) => {
        consumer.consume(async () => {
          calls += 1
          running += 1
          most = Math.max(most, running)
          await new Promise((go) => setImmediate(go))
          running -= 1
          if (calls >= 4) resolve()
          throw new Error('as if the processor failed')
        }, 2)
        for (let job = 0; job < 40; job += 1) sender.wake(`decide/yoruba/${job}`)
      })
      expect(most).toBeLessThanOrEqual(2)
    })

    it('is opened by several starters at once', async () => {
      const queues = await Promise.all([queue(), queue(), queue()])
      expect(queues).toHaveLength(3)
    })
  })
}

wakesOn('the wake queue on Postgres', async () => {
  const database = await testDatabase()
  return { at: { databaseUrl: database.url }, end: () => database.drop() }
})

if (hasRedis) {
  wakesOn('the wake queue on Redis', async () => {
    const redis = await testRedis()
    return { at: { redisUrl: redis.url, databaseUrl: 'postgres://unused' }, end: () => redis.stop() }
  })
} else {
  it.skip('the wake queue on Redis (no redis-server on this machine)', () => {})
}

describe('a wake queue that is down', () => {
  it.each(['redis', 'postgres'])('takes wakes, complains once and closes (%s)', async (kind) => {
    const lines: string[] = []
    const log = pino({ level: 'warn' }, { write: (line: string) => void lines.push(line) })
    const address = `127.0.0.1:${await freePort()}`
    const databaseUrl = `postgres://nobody:nothing@${address}/none`
    const queue = await openWakeQueue(
      kind === 'redis' ? { redisUrl: `redis://${address}`, databaseUrl } : { databaseUrl },
      log,
    )
    queue.consume(async () => {}, 1)
    for (let job = 0; job < 100; job += 1) queue.wake(`decide/yoruba/${job % 10}`)
    while (lines.length === 0) await new Promise((go) => setImmediate(go))
    await queue.close()
    expect(lines).toHaveLength(1)
  })
})
