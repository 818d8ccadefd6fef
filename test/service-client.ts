import type { DescMethod } from '@bufbuild/protobuf'
import type { Client } from '@grpc/grpc-js'
import type { RequestInit, ResponseOf, Service } from '../src/core/grpc-service.ts'
import {
  type ClientStreamMethod,
  callUnary,
  receiveStream,
  type ServerStreamMethod,
  sendStream,
  type UnaryMethod,
} from '../src/participant/calls.ts'

type Call<M extends DescMethod> = M extends UnaryMethod
  ? (request: RequestInit<M>) => Promise<ResponseOf<M>>
  : M extends ClientStreamMethod
    ? (requests: AsyncIterable<RequestInit<M>>) => Promise<ResponseOf<M>>
    : (request: RequestInit<M>) => AsyncIterable<ResponseOf<M>>

/** A service's methods as functions over one connection, as a participant calls them but without its retries. */
export type ServiceClient<S extends Service> = { readonly [K in keyof S['method']]: Call<S['method'][K]> }

export function serviceClient<S extends Service>(service: S, client: Client): ServiceClient<S> {
  const calls = service.methods.map((method) => [method.localName, callOf(client, method)])
  return Object.fromEntries(calls) as ServiceClient<S>
}

function callOf(client: Client, method: DescMethod) {
  if (isUnary(method)) return (request: RequestInit<DescMethod>) => callUnary(client, method, request, {})
  if (isClientStream(method)) {
    return (requests: AsyncIterable<RequestInit<DescMethod>>) => sendStream(client, method, requests, {})
  }
  if (isServerStream(method)) return (request: RequestInit<DescMethod>) => receiveStream(client, method, request, {})
  throw new Error(`${method.name} streams both ways`)
}

const isUnary = (method: DescMethod): method is UnaryMethod => method.methodKind === 'unary'
const isClientStream = (method: DescMethod): method is ClientStreamMethod => method.methodKind === 'client_streaming'
const isServerStream = (method: DescMethod): method is ServerStreamMethod => method.methodKind === 'server_streaming'
