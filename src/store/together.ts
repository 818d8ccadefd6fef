import { Batches } from '../core/batches.ts'
import type { TapestryError } from '../core/error.ts'
import type { Isolation, Store, Tx } from './store.ts'

type Transacting = Pick<Store, 'transact'>

/**
 * A transaction that many callers share: what is asked of one store while it runs makes up the next one, so that a rush
 * of nodes costs a few statements for all of them instead of one transaction each, which would fail each other.
 * @param work judges every question in order, each as if those before it had been committed: its answers are theirs.
 *   It may run again, and once more for each question alone when it throws.
 */
export function together<Q, A>(
  name: string,
  options: { readonly nameOf?: (question: Q) => string; readonly isolation?: Isolation },
  work: (tx: Tx, questions: readonly Q[]) => Promise<readonly (A | TapestryError)[]>,
): (store: Transacting, question: Q) => Promise<A> {
  const perStore = new WeakMap<Transacting, Batches<Q, A>>()
  return (store, question) => {
    let batches = perStore.get(store)
    if (batches === undefined) {
      const answer = (questions: readonly Q[]) => store.transact(name, (tx) => work(tx, questions), options.isolation)
      batches = new Batches(answer, options)
      perStore.set(store, batches)
    }
    return batches.ask(question)
  }
}
