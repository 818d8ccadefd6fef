import { EventEmitter } from 'node:events'
import { PassThrough } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { aborted, closed, stopSignal } from './signals.ts'

function heardBy(from: EventEmitter) {
  const exits: string[] = []
  return { exits, stop: stopSignal(from, (signal) => exits.push(signal)) }
}

describe('stopSignal', () => {
  it('ends a command that does not listen at once', () => {
    const from = new EventEmitter()
    const { exits } = heardBy(from)
    from.emit('SIGTERM')
    expect(exits).toEqual(['SIGTERM'])
  })

  it('asks a command that listens, and insists the second time', async () => {
    const from = new EventEmitter()
    const { exits, stop } = heardBy(from)
    const stopping = aborted(stop.take())
    from.emit('SIGINT')
    await stopping
    expect(stop.heard()).toBe('SIGINT')
    expect(exits).toEqual([])
    from.emit('SIGINT')
    expect(exits).toEqual(['SIGINT'])
  })

  it('follows a parent that has gone', () => {
    let unreferenced = false
    const from = Object.assign(new EventEmitter(), { channel: { unref: () => (unreferenced = true) } })
    const { exits } = heardBy(from)
    expect(unreferenced).toBe(true)
    from.emit('disconnect')
    expect(exits).toEqual(['SIGTERM'])
  })
})

it('sees a pipe close', async () => {
  const pipe = new PassThrough()
  const end = closed(pipe)
  pipe.end('thrown away')
  await end
})
