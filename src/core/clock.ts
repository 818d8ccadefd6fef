/** Milliseconds since the Unix epoch. */
export type Millis = number

/** Where time comes from: rooms on floors 0-1 take `now` as an argument, services take a Clock. */
export type Clock = { now(): Millis }

export const systemClock: Clock = { now: () => Date.now() }
