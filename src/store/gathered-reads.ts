import { Batches } from '../core/batches.ts'
import type { LogEntry, Reader } from './reader.ts'

/**
 * A reader that answers together what is asked at the same time: calls that come while a query is under way wait for it
 * and then share the next. Alone, a call waits for nobody. The reads are those that every call of every node makes:
 * in a rush their number grows with the queries that the database manages, not with the nodes.
 */
export function gathered(reader: Reader): Reader {
  const about = new Batches<string, LogEntry | undefined>(async (subjects) => {
    const found = await reader.ledgerEntriesAbout(subjects)
    return subjects.map((subject) => found.get(subject))
  })
  return {
    ...reader,
    node: sharing((id) => id, reader.node),
    run: sharing((id) => id, reader.run),
    round: sharing(({ run, number }) => `${run}/${number}`, reader.round),
    rosterEntry: sharing(({ run, number }, node) => `${run}/${number}/${node}`, reader.rosterEntry),
    contributionOf: sharing(({ run, number }, node) => `${run}/${number}/${node}`, reader.contributionOf),
    upload: sharing((digest) => digest, reader.upload),
    inspection: sharing((digest) => digest, reader.inspection),
    ledgerHead: sharing(() => '', reader.ledgerHead),
    ledgerHashes: sharing(({ level, index, width }) => `${level}/${index}/${width}`, reader.ledgerHashes),
    ledgerEntryAbout: (subject) => about.ask(subject),
  }
}

/**
 * Asks once for what several ask at the same time, and for all different things in one turn of the event loop: look-ups
 * by a unique key that Prisma is given so become one statement.
 */
function sharing<Args extends readonly unknown[], T>(
  keyOf: (...args: Args) => string,
  read: (...args: Args) => Promise<T>,
): (...args: Args) => Promise<T> {
  const batches = new Batches<Args, T>((asked) => {
    const answers = new Map<string, Promise<T>>()
    return Promise.all(
      asked.map((args) => {
        const key = keyOf(...args)
        const answer = answers.get(key) ?? read(...args)
        answers.set(key, answer)
        return answer
      }),
    )
  })
  return (...args) => batches.ask(args)
}
