import { request as requestHttp } from 'node:http'
import { request as requestHttps } from 'node:https'
import type { Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { DryMongoBinary } from 'mongodb-memory-server'
import { MongoBinaryDownloadUrl } from 'mongodb-memory-server-core/lib/util/MongoBinaryDownloadUrl'
import { envToBool, ResolveConfigVariables, resolveConfig } from 'mongodb-memory-server-core/lib/util/resolveConfig'

/** The variables `mongodb-memory-server` takes a proxy from, in its order. */
const PROXY_VARIABLES = [
  ...['yarn_https-proxy', 'yarn_proxy', 'npm_config_https-proxy', 'npm_config_proxy'],
  ...['https_proxy', 'http_proxy', 'HTTPS_PROXY', 'HTTP_PROXY'],
]

/** The `mongod` that `mongodb-memory-server` would use without a download, if there is one. */
export async function locateBinary(): Promise<string | undefined> {
  return DryMongoBinary.locateBinary(await DryMongoBinary.generateOptions())
}

/**
 * Whether the archive can be downloaded. `mongodb-memory-server` itself tries for minutes where a firewall refuses or
 * swallows its requests, so the headers of the very archive are asked for first, within `timeoutMs`.
 */
export async function isDownloadable(timeoutMs = 1500): Promise<boolean> {
  if (!envToBool(resolveConfig(ResolveConfigVariables.RUNTIME_DOWNLOAD))) return false
  const signal = AbortSignal.timeout(timeoutMs)
  try {
    const options = await DryMongoBinary.generateOptions()
    const archive = new URL(await new MongoBinaryDownloadUrl(options).getDownloadUrl())
    const status = await statusOf(archive, signal)
    // A mirror that does not know HEAD may know GET.
    return status < 400 || status === 405
  } catch {
    return false
  }
}

async function statusOf(url: URL, signal: AbortSignal): Promise<number> {
  const proxy = PROXY_VARIABLES.map((name) => process.env[name]).find((value) => value)
  const socket = proxy === undefined ? undefined : await tunnel(new URL(proxy), url, signal)
  const createConnection = socket && (() => connectTls({ socket, servername: url.hostname }))
  const request = url.protocol === 'http:' ? requestHttp : requestHttps
  return new Promise((resolve, reject) => {
    request(url, { method: 'HEAD', signal, agent: false, createConnection, rejectUnauthorized: false })
      .once('response', (response) => {
        response.resume()
        resolve(response.statusCode ?? 500)
      })
      .once('error', reject)
      .end()
  })
}

/** A connection through a proxy, which may refuse the host. */
function tunnel(proxy: URL, { hostname, port }: URL, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    requestHttp(proxy, { method: 'CONNECT', path: `${hostname}:${port || 443}`, signal, agent: false })
      .once('connect', (response, socket) => {
        if (response.statusCode === 200) return resolve(socket as Socket)
        socket.destroy()
        reject(new Error(`the proxy answers ${response.statusCode}`))
      })
      .once('error', reject)
      .end()
  })
}
