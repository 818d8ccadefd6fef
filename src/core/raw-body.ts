/**
 * What a sender asks to `Upgrade` to when its body is as long as Content-Length says and nothing follows on the
 * connection. Who knows the word may read the connection itself; who does not, a proxy or another server, takes an
 * ordinary body (RFC 9110, 7.8, lets anyone ignore it). Nothing that travels differs.
 */
export const RAW_BODY = 'tapestry-raw-body'
