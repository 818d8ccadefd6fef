import { BlockFolder } from './block-folder.ts'
import { sumCount } from './block-layout.ts'
import { type MergeTask, takeSpans } from './merge-task.ts'
import { OptimizerStep } from './optimizer-step.ts'
import { Target } from './target.ts'
import { TensorReader } from './tensor-reader.ts'

/**
 * Takes spans of a merge that nobody has taken, one after the other, until none is left. Blocks the
 * thread. @throws TapestryError NOT_FOUND, DATA_INVALID, DISK_FULL, RESOURCE_EXHAUSTED
 */
export function foldSpans(task: MergeTask, onBlock: (elements: number) => void): void {
  const opened: { close(): void }[] = []
  const keep = <T extends { close(): void }>(resource: T): T => {
    opened.push(resource)
    return resource
  }
  try {
    const { layouts, rule, shape, out, elements } = task
    const inputs = layouts.length - 1
    const reader = keep(new TensorReader([...layouts, ...(task.optimizer?.before ?? [])]))
    const target = keep(new Target(out))
    const optimizer = task.optimizer && keep(new OptimizerStep(task.optimizer, elements, reader, layouts.length))
    const folder = new BlockFolder({ reader, inputs, rule, optimizer, shape, target })
    takeSpans(task, sumCount(inputs), ({ first, end }) => folder.fold(first, end, onBlock))
  } finally {
    for (const resource of opened) resource.close()
  }
}
