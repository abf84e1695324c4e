import mongoose from 'mongoose'
import { helloOf } from '../client'

const { MongoClient } = mongoose.mongo

export type ServerAddress = { host: string; port: number }

/** Options of a URI that are not for the way through the proxy, in lower case, as the driver compares them. */
const OVERRIDDEN = ['directconnection', 'compressors']

/** The address of the server that a URI leads to: of a replica set, of the member that takes writes. */
export async function findServer(uri: string): Promise<ServerAddress> {
  const { tls, srvHost, directConnection, hosts } = new MongoClient(uri).options
  if (tls || srvHost) {
    throw new Error('Faults are made by a proxy that speaks no TLS: these tests need a mongodb:// URI without it')
  }
  // A member may know itself by a name that only its peers can resolve.
  const primary = directConnection ? undefined : (await helloOf(uri)).primary
  const { hostname, port } = new URL(`mongodb://${primary ?? hosts[0]}`)
  return { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port || 27017) }
}

/**
 * The URI by which the driver comes to the same server by way of another address. Connected directly, it asks nobody
 * where the members are, and does all that it does in a replica set.
 */
export function uriThrough(uri: string, address: string): string {
  const [, credentials = '', database = '', query] = /^mongodb:\/\/([^@/]*@)?[^/?]+\/?([^?]*)\??(.*)$/.exec(uri)!
  const options = [...new URLSearchParams(query)].filter(([name]) => !OVERRIDDEN.includes(name.toLowerCase()))
  options.push(['directConnection', 'true'])
  return `mongodb://${credentials}${address}/${database}?${new URLSearchParams(options)}`
}
