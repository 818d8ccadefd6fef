import { AsyncLocalStorage } from 'node:async_hooks'

/** What every line of the log says while something is done: for whom, or for what. */
export type LogScope = { readonly requestId: string } | { readonly job: string }

const scopes = new AsyncLocalStorage<LogScope>()

/** Does something, and whatever it starts, within a scope: lines that are logged meanwhile say so without being told. */
export function inLogScope<T>(scope: LogScope, work: () => T): T {
  return scopes.run(scope, work)
}

/** The scope of the code that runs now, for a logger to mix in; nothing outside of any. */
export function logScope(): LogScope | Record<string, never> {
  return scopes.getStore() ?? {}
}
