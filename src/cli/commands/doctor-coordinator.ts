import { z } from 'zod'
import { defineCommand, setting } from '../command.ts'
import { defaultCoordinatorDirectory } from '../directories.ts'
import { diagnose, report } from '../doctor/diagnosis.ts'

export const doctorCoordinator = defineCommand({
  path: 'doctor coordinator',
  summary: 'look at a coordinator: keys, disk, blobs, database, clock, Redis and port',
  options: [setting('--dir <directory>', "the coordinator's directory")],
  input: z.object({ dir: z.string().optional() }),
  notes:
    'Changes nothing, beside a running coordinator or before its first start. Exits with 1 when a check fails; warnings are\n' +
    'no failures. Environment: DATABASE_URL and REDIS_URL, as for the coordinator.',
  async run({ dir }, { env, clock, output }) {
    const { coordinatorExaminations } = await import('../doctor/coordinator.ts')
    const root = dir ?? defaultCoordinatorDirectory(env)
    return report(await diagnose(coordinatorExaminations(root, env, clock)), output)
  },
})
