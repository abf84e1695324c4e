/** What a command sees of the process that it runs in. */
export interface Surroundings {
  /** What stands behind the name of the program. */
  readonly args: readonly string[]
  readonly cwd: string
  readonly env: Readonly<Record<string, string | undefined>>
  readonly stdin: NodeJS.ReadStream
  readonly stdout: NodeJS.WriteStream
  readonly stderr: NodeJS.WriteStream
  exit(code: number): never
  /** Has something done each time that the process is told to end. */
  onSignal(act: () => void): void
  /** Has something done with an error that nobody has caught, such as of a module that connects in the background. */
  onCrash(act: (error: unknown) => void): void
}
