import type { Millis } from '../src/core/clock.ts'
import { ensureMemberId, ensureNodeId, type FederationId, type NodeId } from '../src/core/ids.ts'
import {
  type Authority,
  createAuthority,
  federationIdOf,
  issueClientCertificate,
  issueServerCertificate,
  type ServerCertificate,
} from '../src/identity/certificate-authority.ts'
import type { CertificateIdentity } from '../src/identity/certificate-identity.ts'
import { createCertificateRequest } from '../src/identity/certificate-request.ts'
import { generateKey } from '../src/identity/key-file.ts'
import type { NodeStatus } from '../src/policy/membership.ts'
import type { NodeRow } from '../src/store/records.ts'

/** PEM, under the names that node:tls and node:https give them. */
export type ClientCertificate = { readonly cert: string; readonly key: string }

/** A federation's authority with a server certificate for this machine. */
export type TestFederation = {
  readonly id: FederationId
  readonly authority: Authority
  readonly server: ServerCertificate
  /** A client certificate with a fresh key; valid for a day from now unless told otherwise. */
  issue(identity: CertificateIdentity, now?: Millis, lifetimeMs?: Millis): Promise<ClientCertificate>
}

export async function testFederation(): Promise<TestFederation> {
  const authority = await createAuthority('Test federation', Date.now())
  const server = await issueServerCertificate(authority, ['127.0.0.1', 'localhost'], Date.now())
  return {
    id: federationIdOf(authority.certificate),
    authority,
    server,
    async issue(identity, now = Date.now(), lifetimeMs) {
      const key = generateKey('p-256').privateKey
      const request = await createCertificateRequest(key)
      return { cert: await issueClientCertificate(authority, request, identity, now, lifetimeMs), key }
    },
  }
}

/** A node id of one repeated hex digit. */
export function testNodeId(digit: string): NodeId {
  return ensureNodeId(`node-${digit.repeat(32)}`)
}

/** A node as the store keeps it, of the member `member`. */
export function testNode(id: NodeId, status: NodeStatus = 'active'): NodeRow {
  const member = ensureMemberId('member')
  const never = { statusSince: null, statusReason: null, pausedAt: null, keyChanges: 0, keysSince: null }
  return { id, member, name: 'Node', genesis: '{}', publicKey: '', status, ...never, enrolledAt: 0 }
}
