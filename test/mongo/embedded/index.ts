export { type EmbeddedServer, startEmbedded } from './server'
