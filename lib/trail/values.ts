/** What a reader of values hands on. */
export interface Sink {
  /** The bytes of one JSON value, and where in the file it is. */
  value(bytes: Buffer, place: string): void
  bad(place: string, message: string): void
}

/** More than CloudTrail makes of any event, and of a page of `lookup-events` on one line. */
const maxValueBytes = 16 * 1024 * 1024
const headBytes = 256
const byteOrderMark = Buffer.from('\ufeff')

const [quote, backslash, lineFeed] = [0x22, 0x5c, 0x0a]
const [openBrace, closeBrace, openBracket, closeBracket] = [0x7b, 0x7d, 0x5b, 0x5d]

/** Where a file has one document, or several: the lists in it are long, and what is in them is handed on one by one. */
const document = /^(?:\[|\{\s*(?:"(?:Records|Events)"\s*:|[\r\n]|$))/
const keyBytes = 64
const listKey = /"(?:Records|Events)"\s*:\s*$/

/**
 * Finds the JSON values in a file that comes in chunks, without having it as a whole: each line, or, where the file is one document, each
 * object in its list `Records` or `Events`. At most one value is kept.
 */
export class ValueReader {
  readonly #sink: Sink
  #head: Buffer | undefined = Buffer.alloc(0)
  #parts: Lines | Documents | undefined

  constructor(sink: Sink) {
    this.#sink = sink
  }

  push(chunk: Buffer): void {
    if (this.#parts) {
      this.#parts.push(chunk)
      return
    }
    this.#head = this.#head ? Buffer.concat([this.#head, chunk]) : chunk
    if (this.#head.length >= headBytes) this.#begin(this.#head)
  }

  end(): void {
    if (!this.#parts) this.#begin(this.#head!)
    this.#parts!.end()
  }

  #begin(bytes: Buffer): void {
    const head = bytes.subarray(bytes.indexOf(byteOrderMark) === 0 ? byteOrderMark.length : 0)
    const text = head.toString('latin1', 0, headBytes).trimStart()
    this.#parts = document.test(text) ? new Documents(this.#sink) : new Lines(this.#sink)
    this.#head = undefined
    this.#parts.push(head)
  }
}

/** The bytes of a value that may begin in one chunk and end in a later one. */
class Pieces {
  #pieces: Buffer[] = []
  #length = 0
  isTooLong = false

  get isEmpty(): boolean {
    return this.#length === 0
  }

  add(piece: Buffer): void {
    this.#length += piece.length
    this.isTooLong ||= this.#length > maxValueBytes
    if (this.isTooLong) this.#pieces = []
    else this.#pieces.push(piece)
  }

  take(): Buffer {
    const bytes = this.#pieces.length === 1 ? this.#pieces[0]! : Buffer.concat(this.#pieces)
    this.clear()
    return bytes
  }

  clear(): void {
    this.#pieces = []
    this.#length = 0
    this.isTooLong = false
  }

  /** Its last characters, at least as many where there are. */
  tail(length: number): string {
    let text = ''
    for (let index = this.#pieces.length - 1; index >= 0 && text.length < length; index--) {
      text = this.#pieces[index]!.subarray(-length).toString('latin1') + text
    }
    return text
  }
}

class Lines {
  readonly #sink: Sink
  readonly #pieces = new Pieces()
  #line = 1

  constructor(sink: Sink) {
    this.#sink = sink
  }

  push(chunk: Buffer): void {
    let start = 0
    for (let end = chunk.indexOf(lineFeed); end !== -1; end = chunk.indexOf(lineFeed, start)) {
      this.#pieces.add(chunk.subarray(start, end))
      this.#endLine()
      start = end + 1
    }
    if (start < chunk.length) this.#pieces.add(chunk.subarray(start))
  }

  end(): void {
    this.#endLine()
  }

  #endLine(): void {
    const place = `line ${this.#line}`
    this.#line += 1
    if (this.#pieces.isTooLong) {
      this.#pieces.clear()
      this.#sink.bad(place, `is longer than ${maxValueBytes} bytes`)
    } else if (!this.#pieces.isEmpty) {
      const bytes = this.#pieces.take()
      if (!isBlank(bytes)) this.#sink.value(bytes, place)
    }
  }
}

function isBlank(bytes: Buffer): boolean {
  return bytes.length < 8 && bytes.toString('latin1').trim() === ''
}

class Documents {
  readonly #sink: Sink
  readonly #pieces = new Pieces()
  #depth = 0
  /** How deep the values stand that are handed on: 0 for whole documents, 1 in a list, 2 in a list `Records`. */
  #base = 0
  #isInValue = false
  #isInString = false
  #isEscaped = false
  #number = 0

  constructor(sink: Sink) {
    this.#sink = sink
  }

  push(chunk: Buffer): void {
    const length = chunk.length
    // Each byte comes by here: what all of them need is in variables of the loop, and in the members between the chunks.
    let isInString = this.#isInString
    let depth = this.#depth
    let start = 0
    let index = this.#isEscaped ? 1 : 0
    this.#isEscaped = false
    for (; index < length; index++) {
      let byte = chunk[index]!
      if (isInString) {
        while (byte !== quote && byte !== backslash && ++index < length) byte = chunk[index]!
        if (byte === quote) {
          isInString = false
        } else if (byte === backslash) {
          index += 1
          this.#isEscaped = index === length
        }
      } else if (byte === quote) {
        isInString = true
      } else if (byte === openBrace || byte === openBracket) {
        if (depth <= 2) start = this.#open(byte, depth, chunk, start, index)
        depth += 1
      } else if (byte === closeBrace || byte === closeBracket) {
        depth -= 1
        if (depth <= 2) depth = this.#close(depth, chunk, start, index)
      }
    }
    this.#isInString = isInString
    this.#depth = depth
    if (this.#isInValue) this.#pieces.add(chunk.subarray(start))
  }

  end(): void {
    if (this.#depth > 0 || this.#isInString) this.#sink.bad('end', 'ends in the middle of a value')
  }

  /** @returns where the value starts that it is in */
  #open(byte: number, depth: number, chunk: Buffer, start: number, index: number): number {
    if (byte === openBracket) {
      if (this.#opensList(depth, chunk, start, index)) this.#base = depth + 1
    } else if (depth === this.#base && !this.#isInValue) {
      this.#isInValue = true
      return index
    }
    return start
  }

  /** Whether a list begins here whose objects are handed on: then what was taken for a value is only what is around it. */
  #opensList(depth: number, chunk: Buffer, start: number, index: number): boolean {
    if (this.#base > 0 || depth > 1) return false
    if (depth === 0) return true
    if (!this.#isInValue) return false
    const before = this.#pieces.tail(keyBytes) + chunk.toString('latin1', Math.max(start, index - keyBytes), index)
    if (!listKey.test(before)) return false
    this.#isInValue = false
    this.#pieces.clear()
    return true
  }

  /** @returns how deep it is then */
  #close(depth: number, chunk: Buffer, start: number, index: number): number {
    if (depth < 0) {
      this.#sink.bad(this.#place(), 'has a closing bracket too many after it')
      return 0
    }
    if (this.#isInValue && depth === this.#base) {
      this.#pieces.add(chunk.subarray(start, index + 1))
      this.#endValue()
    } else if (depth < this.#base) {
      this.#base = 0
    }
    return depth
  }

  #endValue(): void {
    this.#isInValue = false
    this.#number += 1
    if (!this.#pieces.isTooLong) {
      this.#sink.value(this.#pieces.take(), this.#place())
      return
    }
    this.#pieces.clear()
    this.#sink.bad(this.#place(), `is longer than ${maxValueBytes} bytes`)
  }

  #place(): string {
    return `value ${this.#number}`
  }
}
