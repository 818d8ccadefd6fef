import type { Server } from '@grpc/grpc-js'
import { HealthImplementation } from 'grpc-health-check'

/** Says to orchestrators and load balancers whether this server takes calls (grpc.health.v1, open to anyone). */
export type Health = { setServing(serving: boolean): void }

/**
 * Adds the health service. It begins as NOT_SERVING: the server says when it is ready.
 * @param services full names that may be asked for one by one, beside the empty name for the whole server.
 */
export function addHealth(server: Server, services: readonly string[]): Health {
  const names = ['', ...services]
  const health = new HealthImplementation(Object.fromEntries(names.map((name) => [name, 'NOT_SERVING'])))
  health.addToServer(server)
  return {
    setServing(serving) {
      for (const name of names) health.setStatus(name, serving ? 'SERVING' : 'NOT_SERVING')
    },
  }
}
