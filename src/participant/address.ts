import { isIPv6 } from 'node:net'
import { parseAddress, parseAddresses } from '../identity/invitation.ts'

/** Where a coordinator listens. */
export type Address = {
  /** A DNS name, or an IP address without brackets. */
  readonly host: string
  readonly port: number
  /** `host:port`, an IPv6 host in brackets. */
  readonly text: string
}

/** Reads `host:port` or `[ipv6]:port`. @throws TapestryError INVALID_ARGUMENT */
export function ensureAddress(text: string): Address {
  const { host, port } = parseAddress(text)
  return { host, port, text: isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}` }
}

/** Where the replicas of one coordinator listen. */
export type Addresses = readonly [Address, ...Address[]]

/** Reads one address, or several with commas between them. @throws TapestryError INVALID_ARGUMENT */
export function ensureAddresses(text: string): Addresses {
  const [first, ...others] = parseAddresses(text)
  return [ensureAddress(first), ...others.map(ensureAddress)]
}

/** As {@link ensureAddresses} reads it. */
export function addressesText(addresses: Addresses): string {
  return addresses.map(({ text }) => text).join(',')
}

/** True for addresses that never leave this machine, where no proxy is of use. */
export function isLoopback({ host }: Address): boolean {
  return host === 'localhost' || host.startsWith('127.') || host === '::1'
}
