/** Where a listener for whoever watches is to be: `host:port`, an IPv6 host in brackets; the port may be 0. */
export function monitorAddress(text: string): { readonly host: string; readonly port: number } {
  const at = text.lastIndexOf(':')
  const host = text.slice(0, at).replace(/^\[|\]$/g, '')
  return { host, port: Number(text.slice(at + 1)) }
}
