"""Reads what is stored by the rules of docs/format.md alone, and with nothing but Python's standard library.

A list of requests comes in as JSON, each `{ document, path, secret, model, keyPath, owner, contexts, idType, idTypeWithin }`; a
list of `{ plaintext }` or `{ refused: step }` goes out. `document` and `plaintext` are BSON in hexadecimal.
"""
import hashlib
import hmac
import json
import re
import struct
import sys
import zlib
from base64 import b64encode
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from aesgcm import decrypt

DOUBLE, STRING, DOCUMENT, ARRAY, BINARY, OBJECT_ID = 1, 2, 3, 4, 5, 7
BOOLEAN, DATE, NULL, INT32, INT64, DECIMAL = 8, 9, 10, 16, 18, 19
SIZES = {DOUBLE: 8, OBJECT_ID: 12, BOOLEAN: 1, DATE: 8, NULL: 0, INT32: 4, INT64: 8, DECIMAL: 16}
NUMBERS = {DOUBLE: "<d", INT32: "<i", INT64: "<q", DATE: "<q"}
LABEL = b"mongoose-kms-encrypted/1"


class Refused(Exception):
    """Says which step of "To decrypt a field" refuses."""


def refuse_unless(condition, step):
    if not condition:
        raise Refused(step)


# BSON: each element is its type and its bytes.


def elements(document):
    found, at = {}, 4
    while document[at] != 0:
        kind, end = document[at], document.index(0, at + 1)
        name, at = document[at + 1 : end].decode(), end + 1
        size = SIZES.get(kind)
        if size is None:
            (length,) = struct.unpack_from("<i", document, at)
            size = length + {STRING: 4, DOCUMENT: 0, ARRAY: 0, BINARY: 5}[kind]
        found[name] = kind, document[at : at + size]
        at += size
    return found


def document_of(pairs):
    body = b"".join(bytes([kind]) + name.encode() + b"\0" + raw for name, (kind, raw) in pairs)
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def string_element(text):
    return STRING, struct.pack("<i", len(text.encode()) + 1) + text.encode() + b"\0"


def number_in(element):
    kind, raw = element
    return struct.unpack(NUMBERS[kind], raw)[0]


def binary(element, subtype):
    """The bytes of a Binary; nothing of anything else."""
    kind, raw = element or (NULL, b"")
    return raw[5:] if kind == BINARY and raw[4] == subtype else None


def of_kind(element, kind):
    return element is not None and element[0] == kind


# The `_id`.


def cast_id(element, id_type):
    """A number as the schema casts it."""
    if element[0] not in (DOUBLE, INT32, INT64):
        return element
    number = number_in(element)
    if id_type == "BigInt":
        return INT64, struct.pack("<q", int(number))
    if id_type == "Double":
        return DOUBLE, struct.pack("<d", number)
    is_negative_zero = number == 0 and str(number).startswith("-")
    if number == int(number) and -(2**31) <= number < 2**31 and not is_negative_zero:
        return INT32, struct.pack("<i", int(number))
    if id_type == "Mixed" and element[0] == INT64 and abs(number) > 2**53:
        return element
    return DOUBLE, struct.pack("<d", number)


def number_text(number):
    if isinstance(number, int) or number == 0:
        return str(int(number))
    if 1e-6 <= abs(number) < 1e21:
        return format(Decimal(repr(number)).normalize(), "f")
    return re.sub(r"e([+-])0*", r"e\1", repr(number))


def date_text(milliseconds):
    return (datetime(1970, 1, 1) + timedelta(milliseconds=milliseconds)).isoformat(timespec="milliseconds") + "Z"


def decimal_text(raw):
    bits = int.from_bytes(raw, "little")
    digits = tuple(map(int, str(bits & (1 << 113) - 1)))
    return str(Decimal((bits >> 127, digits, (bits >> 113 & 0x3FFF) - 6176)))


def id_text(element):
    kind, raw = element
    if kind == STRING:
        return raw[4:-1].decode()
    if kind == OBJECT_ID:
        return raw.hex()
    if kind == NULL:
        return "null"
    if kind == BOOLEAN:
        return "true" if raw[0] else "false"
    if kind == DATE:
        return date_text(number_in(element))
    if kind == DECIMAL:
        return decimal_text(raw)
    if kind == BINARY:
        is_uuid = raw[4] == 4 and len(raw) == 21
        return str(UUID(bytes=raw[5:])) if is_uuid else raw[5:].hex()
    if kind == DOCUMENT:
        return json_text(element)
    return number_text(number_in(element))


def json_text(element):
    kind, raw = element
    if kind == DOCUMENT:
        pairs = elements(raw).items()
        return "{" + ",".join(json.dumps(name, ensure_ascii=False) + ":" + json_text(each) for name, each in pairs) + "}"
    if kind == ARRAY:
        return "[" + ",".join(map(json_text, elements(raw).values())) + "]"
    if kind in (DOUBLE, INT32, INT64, BOOLEAN, NULL):
        return id_text(element)
    text = id_text(element)
    if kind == DECIMAL:
        return '{"$numberDecimal":"' + text + '"}'
    if kind == BINARY and "-" not in text:
        text = b64encode(raw[5:]).decode()
    return json.dumps(text, ensure_ascii=False)


# What an envelope is bound to.


def lp(*parts):
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)


def hkdf(key, info):
    pseudorandom = hmac.new(bytes(32), key, hashlib.sha256).digest()
    return hmac.new(pseudorandom, info + b"\x01", hashlib.sha256).digest()


def locate(document, path):
    """The record or subdocument that has the field, and its path without positions in arrays."""
    holder, names, is_array = document, [], False
    *segments, field = path.split(".")
    for segment in segments:
        if not is_array:
            names.append(segment)
        kind, holder = elements(holder)[segment]
        is_array = kind == ARRAY
    return elements(holder), ".".join(names), field


def entry_of(entries, reference):
    """Step 2."""
    found = []
    for kind, raw in elements(entries[1]).values() if of_kind(entries, ARRAY) else ():
        commitment = binary(elements(raw).get("commitment"), 0) if kind == DOCUMENT else None
        if commitment and commitment[:4] == reference:
            found.append(elements(raw))
    refuse_unless(len(found) == 1, 2)
    (entry,) = found
    wrapped, commitment = binary(entry.get("wrapped"), 0), binary(entry["commitment"], 0)
    types = {"version": INT32, "keyId": STRING, "createdAt": DATE, "crc32": INT32}
    refuse_unless(all(of_kind(entry.get(name), kind) for name, kind in types.items()), 2)
    refuse_unless(wrapped is not None and len(commitment) == 32, 2)
    version = number_in(entry["version"])
    refuse_unless("boundVersion" not in entry or of_kind(entry["boundVersion"], INT32), 2)
    bound = number_in(entry["boundVersion"]) if "boundVersion" in entry else version
    numbers = struct.pack(">iq", version, number_in(entry["createdAt"]))
    numbers += struct.pack(">i", bound) if bound != version else b""
    key_id = entry["keyId"][1][4:-1]
    checksum = zlib.crc32(lp(numbers, key_id, wrapped, commitment))
    refuse_unless(checksum == number_in(entry["crc32"]) & 0xFFFFFFFF, 2)
    return version, bound, key_id, wrapped, commitment


def unwrap(secret, key_id, wrapped, context):
    """Step 3, by localKms."""
    own = b"local:not-for-production/" + hashlib.sha256(b"key id" + secret).hexdigest()[:16].encode()
    refuse_unless(key_id == own and len(wrapped) == 60, 3)
    data_key = decrypt(secret, wrapped[:12], context, wrapped[12:-16], wrapped[-16:])
    refuse_unless(data_key is not None, 3)
    return data_key


def context_of(name, request, version):
    refuse_unless(str(version) in request["contexts"], 3)
    pairs = {"Record": name, **request["contexts"][str(version)]}
    encoded = sorted((key.encode(), value.encode()) for key, value in pairs.items())
    return lp(*(part for pair in encoded for part in pair))


def read(request):
    document = bytes.fromhex(request["document"])
    record = elements(document)
    holder, at, field = locate(document, request["path"])
    record_id = cast_id(record["_id"], request.get("idType"))
    own_id = cast_id(holder["_id"], request.get("idTypeWithin")) if "_id" in holder else None

    envelope = binary(holder.get(field), 0x80)
    refuse_unless(envelope is not None and len(envelope) >= 33 and envelope[0] == 1, 1)
    reference, nonce, ciphertext, tag = envelope[1:5], envelope[5:17], envelope[17:-16], envelope[-16:]

    owner = record if request.get("owner") else holder
    version, bound, key_id, wrapped, commitment = entry_of(owner.get(request["keyPath"]), reference)

    name = request["model"] + "/" + id_text(record_id)
    if at and not request.get("owner"):
        name += "/" + at + ("/" + id_text(own_id) if own_id else "")
    context, bound_context = (context_of(name, request, each) for each in (version, bound))
    data_key = unwrap(bytes.fromhex(request["secret"]), key_id, wrapped, context)

    refuse_unless(hmac.compare_digest(hkdf(data_key, LABEL + b" commitment"), commitment), 4)

    within = [("at", string_element(at))] if at else []
    within += [("id", own_id)] if at and own_id else []
    identity = document_of([("v", record_id), *within])
    aad = lp(LABEL, b"\x01", bound_context, identity, field.encode())
    plaintext = decrypt(hkdf(data_key, LABEL + b" encryption"), nonce, aad, ciphertext, tag)
    refuse_unless(plaintext is not None, 5)
    refuse_unless(list(elements(plaintext)) == ["v"], 6)
    return plaintext.hex()


def answer(request):
    try:
        return {"plaintext": read(request)}
    except Refused as refusal:
        return {"refused": refusal.args[0]}


json.dump([answer(request) for request in json.load(sys.stdin)], sys.stdout)
