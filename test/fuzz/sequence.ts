import { type Code, render } from './code'
import { Draw } from './draw'
import { Random, seedOf } from './random'
import type { Secrets } from './secrets'
import type { Shape } from './shape'
import { drawSteps, type Step } from './steps'

/** A definition of models, and the steps that are done to both twins. */
export interface Sequence {
  readonly seed: number
  readonly index: number
  readonly shape: Shape
  readonly secrets: Secrets
  readonly definition: readonly Code[]
  readonly steps: readonly Step[]
}

/** Depends on the seed and index alone, so that a process that ended leaves its last sequence to be read. */
export function drawSequence(seed: number, index: number): Sequence {
  const draw = new Draw(new Random(seedOf(seed, index)))
  return {
    seed,
    index,
    shape: draw.shape,
    secrets: draw.secrets,
    definition: draw.shape.definition,
    steps: drawSteps(draw),
  }
}

export function definitionOf({ definition }: Sequence): string {
  return definition.map(render).join('\n')
}

/** All of the source: what is looked for is looked for by it. */
export function sourceOf(sequence: Sequence): string {
  return [definitionOf(sequence), ...sequence.steps.map(({ source }) => render(source))].join('\n')
}

/** The sequence as a person reads it, up to a step. */
export function logOf(sequence: Sequence, end = sequence.steps.length - 1): string {
  const steps = sequence.steps.slice(0, end + 1).map(({ source }, index) => `${index + 1}. ${render(source)}`)
  return [...sequence.definition.map(render), ...steps].join('\n')
}
