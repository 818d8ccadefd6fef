import { createInterface } from 'node:readline/promises'
import { Writable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { TapestryError } from '../core/error.ts'
import { readNamedFile } from './named-file.ts'

type Input = NodeJS.ReadableStream & { readonly isTTY?: boolean | undefined }
type Sink = { write(text: string): unknown }

/**
 * An invitation from a file, from stdin (`-`), from TAPESTRY_INVITATION, or typed at a terminal
 * without being shown. Never from the command line, which every user of the machine can read.
 * @throws TapestryError INVALID_ARGUMENT when there is none.
 */
export async function readInvitation(
  file: string | undefined,
  env: Readonly<Record<string, string | undefined>>,
  stdin: Input,
  stderr: Sink,
): Promise<string> {
  if (file === '-') return text(stdin)
  if (file !== undefined) return readNamedFile(file)
  const given = env['TAPESTRY_INVITATION']
  if (given !== undefined && given !== '') return given
  if (stdin.isTTY === true) return prompt(stdin, stderr)
  throw new TapestryError('INVALID_ARGUMENT', 'no invitation', {
    hint: 'give it with --invitation-file FILE, or on stdin with --invitation-file -, or in TAPESTRY_INVITATION',
  })
}

async function prompt(stdin: Input, stderr: Sink): Promise<string> {
  stderr.write('Invitation (not shown): ')
  const hidden = new Writable({ write: (_chunk, _encoding, done) => done() })
  const reader = createInterface({ input: stdin, output: hidden, terminal: true })
  try {
    return await reader.question('')
  } finally {
    reader.close()
    stderr.write('\n')
  }
}
