import { readFileSync } from 'node:fs'

/** One column as schema.prisma declares it, in PostgreSQL's words. */
export type DeclaredColumn = {
  readonly table: string
  readonly column: string
  readonly type: string
  readonly nullable: boolean
  /** The field's `///` text; empty when it has none. */
  readonly comment: string
}

const TYPES = new Map([
  ['String', 'text'],
  ['Int', 'integer'],
  ['BigInt', 'bigint'],
  ['Float', 'double precision'],
  ['Boolean', 'boolean'],
  ['Bytes', 'bytea'],
  ['Json', 'jsonb'],
  ['DateTime', 'timestamp(3) with time zone'],
])

/** The columns of prisma/schema.prisma, sorted by table and column. Fields that are relations are no columns. */
export function declaredColumns(): readonly DeclaredColumn[] {
  const schema = readFileSync(new URL('../prisma/schema.prisma', import.meta.url), 'utf8')
  const columns = [...schema.matchAll(/^model \w+ \{\n([\s\S]*?)^\}/gm)].flatMap(([, body = '']) => columnsOf(body))
  return columns.sort((a, b) => compare(`${a.table} ${a.column}`, `${b.table} ${b.column}`))
}

function columnsOf(body: string): readonly DeclaredColumn[] {
  const table = /@@map\("(\w+)"\)/.exec(body)?.[1]
  if (table === undefined) throw new Error(`a model without @@map: ${body.slice(0, 80)}`)
  const columns: DeclaredColumn[] = []
  let comment: string[] = []
  for (const line of body.split('\n')) {
    const prose = /^\s*\/\/\/ ?(.*)$/.exec(line)?.[1]
    if (prose !== undefined) {
      comment.push(prose)
      continue
    }
    const [, name, kind = '', optional, rest = ''] = /^\s+(\w+)\s+(\w+)(\?|\[\])?(.*)$/.exec(line) ?? []
    const type = TYPES.get(kind)
    if (name !== undefined && type !== undefined) {
      const column = / @map\("(\w+)"\)/.exec(rest)?.[1] ?? name
      columns.push({ table, column, type, nullable: optional === '?', comment: comment.join(' ') })
    }
    comment = []
  }
  return columns
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
