import { z } from 'zod'
import { defineCommand } from '../command.ts'
import { diagnose, report } from '../doctor/diagnosis.ts'
import { STRANGER_INPUT, STRANGER_OPTIONS, strangerTrust } from '../trust-input.ts'

export const doctorDownload = defineCommand({
  path: 'doctor download',
  summary: 'look at the way to a federation and its releases, as anyone who downloads a model',
  options: STRANGER_OPTIONS(),
  input: z.object(STRANGER_INPUT),
  notes: 'Exits with 1 when a check fails; warnings are no failures.',
  async run({ from, ...trust }, { env, clock, output }) {
    const { downloadExaminations } = await import('../doctor/download.ts')
    return report(await diagnose(downloadExaminations(from, strangerTrust(trust, env), clock)), output)
  },
})
