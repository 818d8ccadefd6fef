import { openLane } from './lane.ts'

const lane = await openLane()
const say = (what: unknown) => process.send?.(what)
process.on('message', (seed: number | 'end') => {
  // What killed activities left behind keeps timers: nobody waits for them.
  if (seed === 'end') void lane.close().then(() => process.exit(0))
  else void lane.run(seed).then(say, (error) => say({ seed, crash: String(error?.stack ?? error) }))
})
// Without whoever asks there is nothing to do.
process.on('disconnect', () => void lane.close().finally(() => process.exit(1)))
say('ready')
