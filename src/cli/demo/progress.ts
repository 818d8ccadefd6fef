import { z } from 'zod'

/** What `tapestry node run --json` tells while it trains; other events have other types. */
const PROGRESS = z.looseObject({ type: z.string(), step: z.number().optional(), steps: z.number().optional(), loss: z.number().optional() })

export type NodeEvent = z.infer<typeof PROGRESS>

/** Reads one line of a node's output; undefined when it is not an event. */
export function parseNodeEvent(line: string): NodeEvent | undefined {
  try {
    return PROGRESS.safeParse(JSON.parse(line)).data
  } catch {
    return undefined
  }
}
