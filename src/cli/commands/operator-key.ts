import { z } from 'zod'
import { TapestryError } from '../../core/error.ts'
import { keyIdOf, publicKeyFromPem } from '../../core/signature.ts'
import { generateKey } from '../../identity/key-file.ts'
import { readIfThere, writePrivate } from '../../participant/private-file.ts'
import { defineCommand } from '../command.ts'

export const operatorKey = defineCommand({
  path: 'operator key',
  summary: 'make a key to sign overrides with: FILE stays with its holder, FILE.pub is for everybody',
  arguments: [{ name: '<file>', description: 'where the private key is written' }],
  options: [],
  input: z.object({ file: z.string().min(1) }),
  async run({ file }) {
    if ((await readIfThere(file)) !== undefined) throw new TapestryError('ALREADY_EXISTS', `there is a ${file} already`)
    const { privateKey, publicKey } = generateKey('ed25519')
    await writePrivate(file, privateKey)
    await writePrivate(`${file}.pub`, publicKey)
    const keyId = keyIdOf(publicKeyFromPem(publicKey))
    return { json: { keyId, privateKey: file, publicKey: `${file}.pub` }, text: `key ${keyId}\n${file}.pub` }
  },
})
