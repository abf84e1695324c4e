import { Double } from 'bson'
import { bulkWrite } from './bulk'
import * as catalogue from './catalogue'
import { Context } from './context'
import { Cursors } from './cursors'
import { codeName, type Doc, notImplemented, ServerError } from './errors'
import * as reads from './reads'
import { Sessions } from './sessions'
import { Store } from './store'
import type { Transaction } from './transaction'
import { isDoc, isNumeric, isTrue, toNumber } from './values'
import * as writes from './writes'

type Command = {
  /** The fields it understands; any other is refused, because it might change the meaning. */
  fields: string
  run: (context: Context, command: Doc) => Doc | Promise<Doc>
  /** Whether it may be part of a transaction. */
  transactional?: boolean
  /** The lists of documents it carries, and their fields. */
  statements?: Record<string, string>
}

const COMMANDS: Record<string, Command> = {
  ping: { fields: '', run: () => ({}) },
  buildInfo: {
    fields: '',
    run: () => ({
      version: '8.0.0',
      versionArray: [8, 0, 0, 0],
      gitVersion: 'embedded test server',
      bits: 64,
      maxBsonObjectSize: 16_777_216,
    }),
  },
  insert: { fields: 'documents ordered', run: writes.insert, transactional: true },
  update: {
    fields: 'updates ordered',
    run: writes.update,
    transactional: true,
    statements: { updates: 'q u multi upsert arrayFilters hint collation sort' },
  },
  delete: {
    fields: 'deletes ordered',
    run: writes.remove,
    transactional: true,
    statements: { deletes: 'q limit hint collation' },
  },
  findAndModify: {
    fields: 'query sort remove update new fields upsert arrayFilters hint collation',
    run: writes.findAndModify,
    transactional: true,
  },
  bulkWrite: {
    fields: 'ops nsInfo ordered errorsOnly cursor',
    run: bulkWrite,
    transactional: true,
    statements: {
      ops: 'insert document update filter updateMods multi upsert arrayFilters hint collation sort delete',
    },
  },
  find: {
    fields:
      'filter sort projection skip limit batchSize singleBatch hint collation noCursorTimeout allowDiskUse allowPartialResults',
    run: reads.find,
    transactional: true,
  },
  aggregate: {
    fields: 'pipeline cursor explain allowDiskUse hint collation',
    run: reads.aggregate,
    transactional: true,
  },
  count: { fields: 'query limit skip hint collation', run: reads.count },
  distinct: { fields: 'key query hint collation', run: reads.distinct, transactional: true },
  getMore: { fields: 'collection batchSize', run: reads.getMore, transactional: true },
  killCursors: { fields: 'cursors', run: reads.killCursors, transactional: true },
  explain: { fields: 'verbosity', run: reads.explain },
  create: { fields: '', run: catalogue.create },
  drop: { fields: '', run: catalogue.drop },
  dropDatabase: { fields: '', run: catalogue.dropDatabase },
  listCollections: { fields: 'filter nameOnly authorizedCollections cursor', run: catalogue.listCollections },
  listDatabases: { fields: 'filter nameOnly authorizedDatabases', run: catalogue.listDatabases },
  createIndexes: { fields: 'indexes commitQuorum', run: catalogue.createIndexes },
  listIndexes: { fields: 'cursor', run: catalogue.listIndexes },
  dropIndexes: { fields: 'index', run: catalogue.dropIndexes },
}

const RETRYABLE = ['insert', 'update', 'delete', 'findAndModify', 'bulkWrite']

/** Fields any command may have: those that change nothing here, and those of sessions and transactions. */
const COMMON = [
  ...[
    '$db',
    'lsid',
    '$clusterTime',
    '$readPreference',
    'readConcern',
    'writeConcern',
    'maxTimeMS',
    'comment',
    'stmtIds',
  ],
  ...[
    'txnNumber',
    'startTransaction',
    'autocommit',
    'bypassDocumentValidation',
    'let',
    'tailable',
    'awaitData',
    'capped',
  ],
]

/** Executes commands on one store. */
export class Executor {
  readonly store = new Store()
  readonly #cursors = new Cursors(this.store.changes)
  readonly #sessions = new Sessions(this.store)

  /** The answer to a command, errors included. */
  async execute(command: Doc): Promise<Doc> {
    try {
      return { ...(await this.#dispatch(command)), ok: new Double(1) }
    } catch (error) {
      if (!(error instanceof ServerError))
        return errorReply(new ServerError(8, String((error as Error).stack)), command)
      return errorReply(error, command)
    }
  }

  stop(): void {
    this.#cursors.stop()
    this.#sessions.stop()
  }

  async #dispatch(command: Doc): Promise<Doc> {
    const name = Object.keys(command)[0] ?? ''
    switch (name) {
      case 'commitTransaction':
        return this.#sessions.commit(command)
      case 'abortTransaction':
        return this.#sessions.abort(command)
      case 'endSessions':
      case 'killSessions':
        this.#sessions.end(command[name] as Doc[])
        return {}
      case 'refreshSessions':
        return {}
    }
    const known = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
    if (known === undefined) throw new ServerError(59, `no such command: '${name}'`)
    if (command.autocommit === false) return this.#inTransaction(name, known, command)
    checkFields(name, known, command)
    const run = async () => known.run(this.#context(command, undefined), command)
    return command.txnNumber !== undefined && RETRYABLE.includes(name) ? this.#sessions.once(command, run) : run()
  }

  async #inTransaction(name: string, known: Command, command: Doc): Promise<Doc> {
    const transaction = this.#sessions.transactionOf(command)
    try {
      if (name === 'count') throw new ServerError(263, `Cannot run '${name}' in a multi-document transaction.`)
      if (!known.transactional) throw notImplemented(`the command ${name} in a transaction`)
      checkFields(name, known, command)
      const reply = await known.run(this.#context(command, transaction), command)
      if (reply.writeErrors !== undefined || reply.nErrors) this.#sessions.abortAfterError(command)
      return reply
    } catch (error) {
      this.#sessions.abortAfterError(command)
      throw error
    }
  }

  #context(command: Doc, transaction: Transaction | undefined): Context {
    return new Context(this.store, this.#cursors, String(command.$db), transaction)
  }
}

function checkFields(name: string, { fields, statements }: Command, command: Doc): void {
  const allowed = [name, ...COMMON, ...fields.split(' ')]
  for (const option of Object.keys(command)) {
    if (!allowed.includes(option)) throw notImplemented(`the field '${option}' of the command ${name}`)
  }
  checkOptions(name, command)
  for (const [list, known] of Object.entries(statements ?? {})) {
    const knownFields = known.split(' ')
    for (const statement of command[list] as Doc[]) {
      const option = Object.keys(statement).find((key) => !knownFields.includes(key))
      if (option !== undefined) throw notImplemented(`the field '${option}' in ${list}`)
      checkOptions(name, statement)
    }
  }
}

/** Options that are understood with some values only. */
function checkOptions(name: string, options: Doc): void {
  const { collation, hint, writeConcern, readConcern } = options
  if (isDoc(collation) && collation.locale !== 'simple') throw notImplemented('collation')
  if (hint !== undefined) throw notImplemented('hint')
  if (isDoc(options.let) && Object.keys(options.let).length > 0) throw notImplemented('let')
  if (isTrue(options.tailable) || isTrue(options.awaitData) || isTrue(options.capped))
    throw notImplemented('capped collections')
  if (isDoc(writeConcern) && isNumeric(writeConcern.w) && toNumber(writeConcern.w) > 1) {
    throw new ServerError(100, 'Not enough data-bearing nodes')
  }
  if (isDoc(readConcern) && readConcern.level === 'snapshot' && options.autocommit !== false) {
    throw notImplemented(`read concern snapshot for ${name} outside a transaction`)
  }
}

function errorReply(error: ServerError, command: Doc): Doc {
  const inTransaction = command.autocommit === false
  const transient = inTransaction && [112, 251].includes(error.code)
  return {
    ok: new Double(0),
    errmsg: error.message,
    code: error.code,
    codeName: codeName(error.code),
    ...error.extra,
    ...(transient ? { errorLabels: ['TransientTransactionError'] } : {}),
  }
}
