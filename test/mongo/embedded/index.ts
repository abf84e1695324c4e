export type { FailAnswer, FaultMatch, Faults, Hold, ReceivedCommand } from './faults'
export { type EmbeddedServer, startEmbedded } from './server'
