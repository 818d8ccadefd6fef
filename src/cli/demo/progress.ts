import { z } from 'zod'

/** The part of an event of `tapestry node run --json` that is shown; the rest of it is let through. */
const EVENT = z.looseObject({
  type: z.string(),
  step: z.number().optional(),
  steps: z.number().positive().optional(),
  loss: z.number().optional(),
})

export type ShownEvent = z.infer<typeof EVENT>

/** An event as {@link parseShownEvent} reads it. */
export function shownEvent(event: unknown): ShownEvent {
  return EVENT.parse(event)
}

/** Reads one line of a node's output; undefined when it is not an event. */
export function parseShownEvent(line: string): ShownEvent | undefined {
  try {
    return EVENT.safeParse(JSON.parse(line)).data
  } catch {
    return undefined
  }
}
