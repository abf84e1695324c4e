/** Whether two types are the same, `any` being the same as nothing but itself. */
export type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false

/** Compares the types of a value: `expectType<string>()(value)` compiles only where the type is exactly `string`. */
export declare function expectType<Expected>(): <Actual>(
  value: Actual,
  ...different: Equal<Expected, Actual> extends true ? [] : [never]
) => void

/** Compiles only where a value of the type can be used as another. */
export declare function expectAssignable<Expected>(value: Expected): void
