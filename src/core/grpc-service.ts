import type { MessageInitShape, MessageShape } from '@bufbuild/protobuf'
import { type DescMessage, type DescMethod, type DescService, fromBinary, toBinary } from '@bufbuild/protobuf'
import type { MethodDefinition, ServiceDefinition } from '@grpc/grpc-js'

/**
 * A service description, generated or built at run time, that keeps the types of its methods.
 * (DescService itself would widen them: its `method` is a plain record.)
 */
export type Service = Omit<DescService, 'method'> & { readonly method: Record<string, DescMethod> }

/** What a method receives, parsed. */
export type RequestOf<M extends DescMethod> = MessageShape<M['input']>
/** What a method is called with: a message or a plain object with its fields. */
export type RequestInit<M extends DescMethod> = MessageInitShape<M['input']>
/** What a method answers, parsed. */
export type ResponseOf<M extends DescMethod> = MessageShape<M['output']>
/** What a handler returns: a message or a plain object with its fields. */
export type ResponseInit<M extends DescMethod> = MessageInitShape<M['output']>

/** Trailing metadata that carries our error code, what to do about it, and when to try again, beside gRPC's own status. */
export const CODE_KEY = 'tapestry-code'
export const HINT_KEY = 'tapestry-hint'
export const RETRY_KEY = 'tapestry-retry-ms'
/** Names a request in the coordinator's logs: the caller may send one, and is told it in trailers and response headers. */
export const REQUEST_ID_KEY = 'x-request-id'

/** Metadata is printable ASCII: everything else, and `%`, travels percent-encoded as UTF-8. */
export function encodeHint(hint: string): string {
  const wellFormed = hint.replace(/\p{Surrogate}/gu, '\ufffd')
  return wellFormed.replace(/[^\x20-\x24\x26-\x7e]/gu, encodeURIComponent)
}

/** Reverses {@link encodeHint}; text that was not encoded by it is returned as it came. */
export function decodeHint(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/** The path that gRPC puts on the wire, such as `/tapestry.v1.RoundService/JoinRound`. */
export function methodPath(
  method: Pick<DescMethod, 'name'> & { readonly parent: { readonly typeName: string } },
): string {
  return `/${method.parent.typeName}/${method.name}`
}

/** One method in grpc-js's terms, encoding and decoding with protobuf-es. */
export function methodDefinition<M extends DescMethod>(method: M): MethodDefinition<RequestOf<M>, ResponseOf<M>> {
  return {
    path: methodPath(method),
    originalName: method.localName,
    requestStream: method.methodKind === 'client_streaming' || method.methodKind === 'bidi_streaming',
    responseStream: method.methodKind === 'server_streaming' || method.methodKind === 'bidi_streaming',
    requestSerialize: encoder<M['input']>(method.input),
    requestDeserialize: decoder<M['input']>(method.input),
    responseSerialize: encoder<M['output']>(method.output),
    responseDeserialize: decoder<M['output']>(method.output),
  }
}

/** A whole service in grpc-js's terms, keyed by the methods' local names. */
export function serviceDefinition(service: Service): ServiceDefinition {
  return Object.fromEntries(service.methods.map((method) => [method.localName, methodDefinition(method)]))
}

function encoder<D extends DescMessage>(schema: D): (message: MessageShape<D>) => Buffer {
  return (message) => {
    const bytes = toBinary(schema, message)
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }
}

function decoder<D extends DescMessage>(schema: D): (bytes: Buffer) => MessageShape<D> {
  return (bytes) => fromBinary(schema, bytes)
}
