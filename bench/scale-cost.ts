import { Client } from 'pg'
import { treeCpu } from './process-tree.ts'

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

/** What processes have counted they tell the others only now and then. */
const COUNTED_MS = 1500

/** What the database and the processes of a coordinator did between two moments. */
export class CostMeter {
  readonly #database: Client
  readonly #roots: Readonly<Record<string, number>>
  #rows = 0
  #cpu: Readonly<Record<string, number>> = {}

  private constructor(database: Client, roots: Readonly<Record<string, number>>) {
    this.#database = database
    this.#roots = roots
  }

  /** @param roots as {@link Coordinator.roots} gives them. */
  static async open(url: string, roots: Readonly<Record<string, number>>): Promise<CostMeter> {
    const database = new Client({ connectionString: url })
    await database.connect()
    await database.query('CREATE EXTENSION pg_stat_statements')
    return new CostMeter(database, roots)
  }

  async begin(): Promise<void> {
    await this.#database.query('SELECT pg_stat_statements_reset()')
    this.#rows = await this.#written()
    this.#cpu = treeCpu(this.#roots)
  }

  /** @returns for each of `count`. */
  async end(count: number): Promise<Cost> {
    const cpu = treeCpu(this.#roots)
    const { rows } = await this.#database.query<{ calls: string }>('SELECT sum(calls) AS calls FROM pg_stat_statements')
    await new Promise((resolve) => setTimeout(resolve, COUNTED_MS))
    const ms = (name: string) => (((cpu[name] ?? 0) - (this.#cpu[name] ?? 0)) * 1000) / count
    return {
      statements: Number(rows[0]?.calls) / count,
      rows: ((await this.#written()) - this.#rows) / count,
      servingCpuMs: ms('coordinator'),
      databaseCpuMs: ms('database'),
    }
  }

  async close(): Promise<void> {
    await this.#database.end().catch(() => undefined)
  }

  async #written(): Promise<number> {
    const { rows } = await this.#database.query<{ written: string }>(
      `SELECT tup_inserted + tup_updated + tup_deleted AS written FROM pg_stat_database
       WHERE datname = current_database()`,
    )
    return Number(rows[0]?.written)
  }
}
