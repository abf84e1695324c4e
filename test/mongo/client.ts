import mongoose from 'mongoose'

const { MongoClient } = mongoose.mongo

/** Does something by a client of its own, which is closed afterwards. */
export async function withClient<T>(uri: string, use: (client: mongoose.mongo.MongoClient) => Promise<T>): Promise<T> {
  const client = new MongoClient(uri)
  try {
    return await use(client)
  } finally {
    await client.close()
  }
}

/** What a server tells of itself and of its replica set. */
export async function helloOf(uri: string): Promise<mongoose.mongo.Document> {
  return withClient(uri, (client) => client.db('admin').command({ hello: 1 }))
}
