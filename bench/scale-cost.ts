import { Client } from 'pg'
import { processCpu, treeCpu } from './process-tree.ts'

/** What one of many like things cost. */
export type Cost = {
  /** Statements that the database executed, those that begin and end transactions included. */
  readonly statements: number
  /** Rows inserted, updated or deleted. */
  readonly rows: number
  /** Processor time of the process that serves, and of the database, in ms. */
  readonly servingCpuMs: number
  readonly databaseCpuMs: number
}

/** Process ids: of the one that serves, and of the database. */
type Roots = { readonly coordinator: number; readonly database?: number }

/** What processes have counted they tell the others only now and then. */
const COUNTED_MS = 1500

/** What the database and the processes of a coordinator did between two moments. */
export class CostMeter {
  readonly #database: Client
  readonly #roots: Roots
  #rows = 0
  #cpu = { serving: 0, database: 0 }

  private constructor(database: Client, roots: Roots) {
    this.#database = database
    this.#roots = roots
  }

  /** @param roots as {@link Coordinator.roots} gives them. */
  static async open(url: string, roots: Roots): Promise<CostMeter> {
    const database = new Client({ connectionString: url })
    await database.connect()
    await database.query('CREATE EXTENSION pg_stat_statements')
    return new CostMeter(database, roots)
  }

  async begin(): Promise<void> {
    await this.#database.query('SELECT pg_stat_statements_reset()')
    this.#rows = await this.#written()
    this.#cpu = this.#spent()
  }

  /** @returns for each of `count`. */
  async end(count: number): Promise<Cost> {
    const cpu = this.#spent()
    const { rows } = await this.#database.query<{ calls: string }>('SELECT sum(calls) AS calls FROM pg_stat_statements')
    await new Promise((resolve) => setTimeout(resolve, COUNTED_MS))
    const ms = (name: 'serving' | 'database') => ((cpu[name] - this.#cpu[name]) * 1000) / count
    return {
      statements: Number(rows[0]?.calls) / count,
      rows: ((await this.#written()) - this.#rows) / count,
      servingCpuMs: ms('serving'),
      databaseCpuMs: ms('database'),
    }
  }

  async close(): Promise<void> {
    await this.#database.end().catch(() => undefined)
  }

  /** The worker, which descends from the process that serves, is not part of it. */
  #spent() {
    const { coordinator, database } = this.#roots
    return { serving: processCpu(coordinator), database: database === undefined ? 0 : treeCpu(database) }
  }

  async #written(): Promise<number> {
    const { rows } = await this.#database.query<{ written: string }>(
      `SELECT tup_inserted + tup_updated + tup_deleted AS written FROM pg_stat_database
       WHERE datname = current_database()`,
    )
    return Number(rows[0]?.written)
  }
}
