import { lowerFirst } from './errors'
import type { Body } from './params'

/** One line of the log, with the names CloudTrail uses. */
export interface Call {
  /** ISO 8601. */
  readonly eventTime: string
  /** The operation: `GenerateDataKey`, `Decrypt`, … */
  readonly eventName: string
  /** As in the response header `x-amzn-RequestId`. */
  readonly requestId: string
  readonly awsRegion: string
  /** Access key id of the caller. */
  readonly principal: string
  readonly userAgent: string
  /** The SDK's count of its attempts at one command, from 1. */
  readonly attempt?: number
  /** The parameters as sent (`keyId`, `encryptionContext`, …), without plaintext and ciphertext. */
  readonly requestParameters: Readonly<Record<string, unknown>>
  /** ARN of the key used, known once it has been looked up. For `ReEncrypt`, the destination. */
  keyId?: string
  /** `ReEncrypt` only: ARN of the key that had wrapped the blob. */
  sourceKeyId?: string
  /** Type of the error answered; absent when the operation succeeded. */
  errorCode?: string
  errorMessage?: string
}

/** A list of what may be logged, not of what may not: an unforeseen parameter stays out. */
const LOGGED = [
  'KeyId',
  'EncryptionContext',
  'EncryptionAlgorithm',
  'KeySpec',
  'NumberOfBytes',
  'SourceKeyId',
  'SourceEncryptionContext',
  'SourceEncryptionAlgorithm',
  'DestinationKeyId',
  'DestinationEncryptionContext',
  'DestinationEncryptionAlgorithm',
]

export function loggedParameters(body: Body): Record<string, unknown> {
  const present = LOGGED.filter((member) => body[member] !== undefined)
  return Object.fromEntries(present.map((member) => [lowerFirst(member), body[member]]))
}
