import type { NodeId } from '../core/ids.ts'
import { EnrollmentService } from '../gen/proto/tapestry/v1/enrollment_pb.ts'
import type { Address, Addresses } from './address.ts'
import { ATTEMPTS, type Channel, type ClientIdentity, mayRepeat, openChannel } from './channel.ts'
import { DEFAULT_BACKOFF, isPassing, retrying } from './retry.ts'

/**
 * Opens a channel to a coordinator that serves at several addresses. It stays with the first until that one fails in a way
 * that time may mend, then goes on with the next; whatever may be repeated is, and nothing else.
 * @param authority as for {@link openChannel}: every replica has to prove itself with it.
 */
export function openReplicas(addresses: Addresses, authority: string, identity?: ClientIdentity): Channel {
  const [only, ...others] = addresses
  if (others.length === 0) return openChannel(only, authority, identity)
  return openReplicated(addresses, (address) => openChannel(address, authority, identity))
}

/**
 * Asks one address after another, for as long as they fail in a way that time may mend.
 * @returns the first answer, and whose it is. @throws what the last one that was asked failed with.
 */
export async function firstAnswering<T>(
  addresses: Addresses,
  ask: (address: Address) => Promise<T>,
): Promise<{ readonly address: Address; readonly answer: T }> {
  const [address, ...others] = addresses
  try {
    return { address, answer: await ask(address) }
  } catch (error) {
    const [next, ...rest] = others
    if (next === undefined || !isPassing(error)) throw error
    return firstAnswering([next, ...rest], ask)
  }
}

/** The same addresses, beginning with one of them. */
export function beginningWith(addresses: Addresses, first: Address): Addresses {
  return [first, ...addresses.filter(({ text }) => text !== first.text)]
}

/** The same addresses, beginning where the digits of a node's id say: nodes spread themselves over the replicas. */
export function spreadBy(addresses: Addresses, node: NodeId): Addresses {
  const at = Number.parseInt(node.slice(-8), 16) % addresses.length
  return beginningWith(addresses, addresses[at] ?? addresses[0])
}

function openReplicated(addresses: Addresses, open: (address: Address) => Channel): Channel {
  let at = 0
  let current = open(addresses[0])

  /** The failed way is closed, not kept: opened anew it connects at once, and not when its own pauses are over. */
  function turnFrom(failed: Channel): void {
    if (failed !== current) return
    at = (at + 1) % addresses.length
    current = open(addresses[at] ?? addresses[0])
    failed.close()
  }

  /** Runs on the present way, and leaves it when it fails. */
  async function onOne<T>(action: (way: Channel) => Promise<T>): Promise<T> {
    const way = current
    try {
      return await action(way)
    } catch (error) {
      if (isPassing(error)) turnFrom(way)
      throw error
    }
  }

  const channel: Channel = {
    get address() {
      return current.address
    },
    get https() {
      return current.https
    },
    leave(origin) {
      if (current.https === origin) turnFrom(current)
    },
    async call(method, request, options = {}) {
      const { signal, attempts = ATTEMPTS } = options
      const once = () => onOne((way) => way.call(method, request, { ...options, attempts: 1 }))
      if (mayRepeat(method)) return retrying(once, { attempts, backoff: DEFAULT_BACKOFF, signal })
      // A call that may be repeated goes ahead and finds out who answers.
      await channel.call(EnrollmentService.method.getFederation, {}, { signal })
      return once()
    },
    async *receive(method, request, options) {
      const way = current
      try {
        yield* way.receive(method, request, options)
      } catch (error) {
        if (isPassing(error)) turnFrom(way)
        throw error
      }
    },
    send: (method, requests, options) => onOne((way) => way.send(method, requests, options)),
    close: () => current.close(),
  }
  return channel
}
