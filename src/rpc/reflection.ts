import { type DescFile, toBinary } from '@bufbuild/protobuf'
import { FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt'
import type { Server } from '@grpc/grpc-js'
import { ReflectionService } from '@grpc/reflection'
import type { Service } from '../core/grpc-service.ts'

type Package = ConstructorParameters<typeof ReflectionService>[0]

/** Lets tools such as grpcurl ask for the protocol. Off unless the operator turns it on. */
export function addReflection(server: Server, services: readonly Service[]): void {
  const files = filesOf(services)
  const fileDescriptorProtos = files.map((file) => Buffer.from(toBinary(FileDescriptorProtoSchema, file.proto)))
  // Reflection takes what proto-loader makes of .proto files, and reads the descriptors in it: one entry carries all.
  const loaded: Package = {
    tapestry: { format: 'Protocol Buffer 3 DescriptorProto', type: {}, fileDescriptorProtos },
  }
  new ReflectionService(loaded).addToServer(server)
}

/** The services' files and everything that they import, each once, imports first. */
function filesOf(services: readonly Service[]): DescFile[] {
  const files = new Map<string, DescFile>()
  const add = (file: DescFile): void => {
    if (files.has(file.name)) return
    for (const dependency of file.dependencies) add(dependency)
    files.set(file.name, file)
  }
  for (const service of services) add(service.file)
  return [...files.values()]
}
