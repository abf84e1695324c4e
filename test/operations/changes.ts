import type { Names, Row, World } from './row'

export const values = (names: Names) => ({ [names.text]: names.value, [names.number]: names.newNumber })
export const ofAda = { name: 'Ada' }

/** The document of the record that is called Ada, loaded in the transaction. */
export function loadAda({ User, options }: World) {
  return User.findOne(ofAda)
    .session(options.session ?? null)
    .orFail()
}

/** Changes the record that is called Ada. */
export function changes(
  name: string,
  run: (world: World, given: any) => Promise<unknown>,
  more: Partial<Row> = {},
): Row {
  return {
    name,
    encrypted: 'encrypted',
    given: values,
    run,
    after: (names) => ({ Ada: values(names) }),
    ...more,
  }
}

export const gone = (names: Names) => ({ Ada: { [names.text]: undefined } })
export const empty = (names: Names) => ({ Ada: { [names.text]: null } })
export const text = ({ text }: Names) => ({ [text]: 1 })
