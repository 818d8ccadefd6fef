import { setImmediate } from 'node:timers/promises'
import { parentPort } from 'node:worker_threads'
import { BytePass, readingOf } from './byte-pass.ts'
import type { Answer, Question, Reading } from './reading.ts'

/**
 * The thread's side of pass-threads.ts. After a failure every further block of a pass fails too: what follows bytes
 * that were not written must not be written either.
 */
const passes = new Map<number, BytePass>()

parentPort?.on('message', (question: Question) => {
  if (question.kind === 'drop') passes.delete(question.pass)
  else if (question.kind === 'file') void readFile(question)
  else reply(question.id, () => answerTo(question))
})

function answerTo(question: Exclude<Question, { kind: 'drop' | 'file' }>): Reading | undefined {
  if (question.kind === 'begin') {
    passes.set(question.pass, new BytePass(question.task))
    return undefined
  }
  const pass = passes.get(question.pass)
  if (pass === undefined) throw new Error('the pass has failed before')
  try {
    if (question.kind === 'finish') return pass.finish()
    pass.push(question.block.subarray(0, question.length))
    return undefined
  } catch (error) {
    passes.delete(question.pass)
    throw error
  }
}

/** Between two pieces the thread serves whoever else waits. */
async function readFile({ id, path, summarize }: Extract<Question, { kind: 'file' }>): Promise<void> {
  try {
    const reading = readingOf(path, summarize)
    let step = reading.next()
    for (; !step.done; step = reading.next()) await setImmediate()
    const { value } = step
    reply(id, () => value)
  } catch (error) {
    reply(id, () => {
      throw error
    })
  }
}

function reply(id: number, work: () => Reading | undefined): void {
  parentPort?.postMessage(answerOf(id, work))
}

function answerOf(id: number, work: () => Reading | undefined): Answer {
  try {
    const reading = work()
    return reading === undefined ? { id } : { id, reading }
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    const code = error instanceof Error && 'code' in error ? String(error.code) : undefined
    return { id, failure: { message, code } }
  }
}
