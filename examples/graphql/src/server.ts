import { createHash } from 'node:crypto'
import { createServer } from 'node:http'
import { createSchema, createYoga } from 'graphql-yoga'
import { withAudit } from 'mongoose-kms-encrypted'
import { User, type UserDocument } from './user'

const schema = createSchema({
  typeDefs: /* GraphQL */ `
    type User {
      id: ID!
      plan: String!
      name: String
      email: String
      born: String
    }
    type Query {
      users: [User!]!
      user(id: ID!): User
    }
  `,
  resolvers: {
    Query: {
      users: () => User.find(),
      user: (_: unknown, { id }: { id: string }) => User.findById(id),
    },
    User: {
      // `plan`, `name` and `email` need no resolver: the promise of a locked field is awaited, and where nobody asks for it, nothing is opened.
      born: async (user: UserDocument) => (await user.born)?.toISOString().slice(0, 10),
    },
  },
})

/** Errors are masked by default: what goes to the client is `Unexpected error.` */
const yoga = createYoga({ schema })

/** Names of the staff by the SHA-256 of their tokens, in hex. */
const staff = new Map<string, string>(Object.entries(JSON.parse(process.env.STAFF ?? '{}')))

/** Whoever has a token is the actor of all that resolvers open. */
export const server = createServer((req, res) => {
  const token = /^Bearer (.+)$/.exec(req.headers.authorization ?? '')?.[1] ?? ''
  const actor = staff.get(createHash('sha256').update(token).digest('hex'))
  if (actor) void withAudit({ actor }, () => yoga(req, res))
  else res.writeHead(401).end()
})
