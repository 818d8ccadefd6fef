import { z } from 'zod'
import { TapestryError } from '../../core/error.ts'
import { defineCommand, flag, setting } from '../command.ts'
import { initCoordinator, openCoordinatorDirectory } from '../coordinator-directory.ts'
import { defaultCoordinatorDirectory } from '../directories.ts'

export const coordinatorInit = defineCommand({
  path: 'coordinator init',
  summary: 'make a new federation: its keys, certificate authority and data directory',
  options: [
    setting('--dir <directory>', 'where the coordinator keeps everything'),
    setting('--name <name>', 'the name of the federation'),
    flag('--hostname <name...>', 'further names and addresses for the server certificate'),
    flag('--if-missing', 'succeed without changing anything where there is a coordinator already'),
  ],
  input: z.object({
    dir: z.string().optional(),
    name: z.string().default('Tapestry'),
    hostname: z.array(z.string()).default([]),
    ifMissing: z.boolean().default(false),
  }),
  async run(input, { env, clock }) {
    const dir = input.dir ?? defaultCoordinatorDirectory(env)
    const settings = input.hostname.length > 0 ? { hostnames: input.hostname } : {}
    const { id } = await initCoordinator({ dir, name: input.name, settings, now: clock.now() }).catch(async (error) => {
      const there = error instanceof TapestryError && error.code === 'ALREADY_EXISTS'
      if (!input.ifMissing || !there) throw error
      return (await openCoordinatorDirectory(dir)).federation
    })
    return {
      json: { federation: id, directory: dir },
      text: `federation ${id}\nin ${dir}\nstart it: tapestry coordinator serve --dir ${dir}`,
    }
  },
})
