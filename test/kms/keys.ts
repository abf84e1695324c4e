import { randomBytes, randomUUID } from 'node:crypto'
import type { Material } from './blob'
import { invalid, KmsError } from './errors'

/** The account every key of the stand-in belongs to; AWS reserves this number for documentation. */
export const ACCOUNT = '111122223333'
export const DEFAULT_REGION = 'us-east-1'

const DELETION_WINDOW_MS = 30 * 24 * 60 * 60 * 1000
const ARN = /^arn:aws:kms:([^:]*):\d{12}:((?:key|alias)\/.+)$/
const KEY_ID = /^([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|mrk-[0-9a-f]{32})$/

export interface Key {
  readonly id: string
  readonly arn: string
  readonly createdAt: Date
  /** Newest last. */
  readonly materials: [Material, ...Material[]]
  state: 'Enabled' | 'Disabled' | 'PendingDeletion'
  deletionDate?: Date
}

/** The KMS keys of one account, over all regions. */
export class Keys {
  readonly #keys = new Map<string, Key>()
  readonly #aliases = new Map<string, Key>()

  create(region: string, isMultiRegion = false): Key {
    const uuid = randomUUID()
    const id = isMultiRegion ? `mrk-${uuid.replaceAll('-', '')}` : uuid
    const key: Key = {
      id,
      arn: arnOf(region, `key/${id}`),
      createdAt: new Date(),
      materials: [material()],
      state: 'Enabled',
    }
    this.#keys.set(key.arn, key)
    return key
  }

  /** The same key in another region: one id, one material, a state of its own. */
  replicate(key: Key, region: string): Key {
    const replica: Key = { ...key, arn: arnOf(region, `key/${key.id}`), state: 'Enabled' }
    this.#keys.set(replica.arn, replica)
    return replica
  }

  /** Creates the alias in the key's own region, or points it at this key from now on. */
  alias(name: string, key: Key): void {
    if (!/^alias\/[a-zA-Z0-9/_-]+$/.test(name)) {
      throw invalid('AliasName', name, 'satisfy regular expression pattern: ^alias/[a-zA-Z0-9/_-]+$')
    }
    this.#aliases.set(arnOf(regionOf(key.arn), name), key)
  }

  /**
   * @param reference key id, key ARN, alias name or alias ARN
   * @param region of the endpoint asked, which knows the keys of this region only
   * @throws {KmsError} NotFoundException
   */
  resolve(reference: string, region: string): Key {
    const arn = ARN.exec(reference)
    if (arn && arn[1] !== region) throw new KmsError('NotFoundException', `Invalid arn ${arn[1]}`)
    const name = arn?.[2] ?? (reference.startsWith('alias/') ? reference : `key/${reference}`)
    const full = arnOf(region, name)
    if (name.startsWith('alias/')) {
      const key = this.#aliases.get(full)
      if (!key) throw new KmsError('NotFoundException', `Alias ${full} is not found.`)
      return key
    }
    if (!KEY_ID.test(name.slice('key/'.length))) throw new KmsError('NotFoundException', `Invalid keyId '${reference}'`)
    const key = this.#keys.get(full)
    if (!key) throw new KmsError('NotFoundException', `Key '${full}' does not exist`)
    return key
  }

  /** The key a blob names, if this region has it. */
  find(id: string, region: string): Key | undefined {
    return (
      this.#keys.get(arnOf(region, `key/${id}`)) ?? this.#keys.get(arnOf(region, `key/mrk-${id.replaceAll('-', '')}`))
    )
  }
}

/** @throws {KmsError} DisabledException or KMSInvalidStateException unless the key can be used now. */
export function assertUsable({ arn, state }: Key): void {
  if (state === 'Disabled') throw new KmsError('DisabledException', `${arn} is disabled.`)
  if (state === 'PendingDeletion') throw new KmsError('KMSInvalidStateException', `${arn} is pending deletion.`)
}

export function newestMaterial({ materials }: Key): Material {
  return materials[materials.length - 1] as Material
}

export function rotate(key: Key): void {
  key.materials.push(material())
}

export function scheduleDeletion(key: Key): void {
  key.state = 'PendingDeletion'
  key.deletionDate = new Date(Date.now() + DELETION_WINDOW_MS)
}

/** As in KMS, the key comes back disabled: somebody wanted it gone, so using it again takes a second decision. */
export function cancelDeletion(key: Key): void {
  key.state = 'Disabled'
  delete key.deletionDate
}

/** The region an ARN names; a bare id or alias belongs to the default one. */
export function regionOf(reference: string): string {
  return ARN.exec(reference)?.[1] ?? DEFAULT_REGION
}

function arnOf(region: string, name: string): string {
  return `arn:aws:kms:${region}:${ACCOUNT}:${name}`
}

function material(): Material {
  return { id: randomBytes(32).toString('hex'), secret: randomBytes(32) }
}
