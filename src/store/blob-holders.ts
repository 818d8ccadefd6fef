import { z } from 'zod'
import { blobHolderSchema } from '../policy/blob-holder.ts'
import { parseStored } from './column.ts'
import type { Database } from './database.ts'
import type { Reader } from './reader.ts'

/**
 * Who refers to blobs, or did until it was taken back. A round's state is searched for whatever digests it holds (candidate, shards, optimizer's state):
 * a blob too many is kept, none too few. blob-holders.test.ts says of every column with a digest whether it is one of these.
 */
export function blobHolderReads(database: Database): Pick<Reader, 'blobHolders'> {
  return {
    blobHolders: async (digests) => {
      const wanted = [...digests]
      const found: unknown = await database.$queryRaw`
        SELECT payload_digest AS digest, 'contribution' AS kind, id AS holder, revocation IS NOT NULL AS "takenBack"
        FROM contribution WHERE payload_digest = ANY(${wanted})
        UNION ALL
        SELECT f.digest, 'checkpoint', c.digest, c.revocation IS NOT NULL
        FROM checkpoint_file f JOIN checkpoint c ON c.digest = f.checkpoint_digest WHERE f.digest = ANY(${wanted})
        UNION ALL
        SELECT named[1], 'round', run_id || '/' || number, revocation IS NOT NULL
        FROM round, regexp_matches(state::text, 'sha256:[0-9a-f]{64}', 'g') AS named WHERE named[1] = ANY(${wanted})
        UNION ALL
        SELECT digest, 'upload', node_id, false FROM upload WHERE digest = ANY(${wanted})`
      return parseStored(z.array(blobHolderSchema), found, 'holder of a blob')
    },
  }
}
