import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'

/** Does something while a KMS stands on 127.0.0.1, as a process of its own, where clients of the SDK find it without options. */
export async function withKms<T>(work: (keyId: string) => Promise<T>): Promise<T> {
  const server = fork(join(__dirname, 'kmsserver.ts'))
  const [{ endpoint, keyId }] = (await once(server, 'message')) as [{ endpoint: string; keyId: string }]
  Object.assign(process.env, {
    AWS_ENDPOINT_URL_KMS: endpoint,
    AWS_REGION: 'us-east-1',
    AWS_ACCESS_KEY_ID: 'AKIDEXAMPLE',
    AWS_SECRET_ACCESS_KEY: 'no-secret-at-all',
    AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: 'true',
  })
  try {
    return await work(keyId)
  } finally {
    server.disconnect()
    await once(server, 'exit')
  }
}
