"""AES-256-GCM of FIPS 197 and NIST SP 800-38D, which Python's standard library lacks. For tests: slow, and not in constant time."""
import hmac


def double(byte):
    return byte << 1 ^ (0x11B if byte & 0x80 else 0)


def make_sbox():
    """FIPS 197, 5.1.1: the inverse in the field, which powers of 3 run through, and an affine map of it."""
    powers = [1]
    for _ in range(254):
        powers.append(powers[-1] ^ double(powers[-1]))
    inverse = {0: 0, **{power: powers[-at % 255] for at, power in enumerate(powers)}}
    rotated = lambda byte, by: (byte << by | byte >> 8 - by) & 0xFF
    return bytes(
        b ^ rotated(b, 1) ^ rotated(b, 2) ^ rotated(b, 3) ^ rotated(b, 4) ^ 0x63 for b in map(inverse.get, range(256))
    )


SBOX = make_sbox()
ROUNDS = 14


def xor(one, other):
    return bytes(a ^ b for a, b in zip(one, other))


def expand(key):
    """FIPS 197, 5.2, for keys of 32 bytes: a key of 16 bytes for each round."""
    words, constant = [key[at : at + 4] for at in range(0, 32, 4)], 1
    while len(words) < 4 * (ROUNDS + 1):
        word = words[-1]
        if len(words) % 8 == 0:
            word = bytes(SBOX[byte] for byte in word[1:] + word[:1])
            word, constant = bytes([word[0] ^ constant]) + word[1:], double(constant)
        elif len(words) % 8 == 4:
            word = bytes(SBOX[byte] for byte in word)
        words.append(xor(words[-8], word))
    return [b"".join(words[at : at + 4]) for at in range(0, len(words), 4)]


def mix_column(a):
    return bytes(double(a[i]) ^ double(a[(i + 1) % 4]) ^ a[(i + 1) % 4] ^ a[(i + 2) % 4] ^ a[(i + 3) % 4] for i in range(4))


def encrypt_block(round_keys, block):
    """FIPS 197, 5.1."""
    state = xor(block, round_keys[0])
    for number in range(1, ROUNDS + 1):
        state = bytes(SBOX[state[(at + at % 4 * 4) % 16]] for at in range(16))
        if number < ROUNDS:
            state = b"".join(mix_column(state[at : at + 4]) for at in range(0, 16, 4))
        state = xor(state, round_keys[number])
    return state


def multiply(x, y):
    """SP 800-38D, 6.3: blocks as numbers, whose leftmost bit is that of the lowest power."""
    product = 0
    for bit in range(127, -1, -1):
        if x >> bit & 1:
            product ^= y
        y = y >> 1 ^ (0xE1 << 120 if y & 1 else 0)
    return product


def ghash(subkey, data):
    total = 0
    for at in range(0, len(data), 16):
        total = multiply(total ^ int.from_bytes(data[at : at + 16], "big"), subkey)
    return total.to_bytes(16, "big")


def padded(data):
    return data + bytes(-len(data) % 16)


def decrypt(key, nonce, aad, ciphertext, tag):
    """SP 800-38D, 7.2, for nonces of 12 bytes and tags of 16; `None` where the tag does not verify."""
    round_keys = expand(key)
    keystream = lambda counter: encrypt_block(round_keys, nonce + counter.to_bytes(4, "big"))
    subkey = int.from_bytes(encrypt_block(round_keys, bytes(16)), "big")
    lengths = (8 * len(aad)).to_bytes(8, "big") + (8 * len(ciphertext)).to_bytes(8, "big")
    expected = xor(ghash(subkey, padded(aad) + padded(ciphertext) + lengths), keystream(1))
    if not hmac.compare_digest(expected, tag):
        return None
    blocks = range(0, len(ciphertext), 16)
    return b"".join(xor(ciphertext[at : at + 16], keystream(2 + at // 16)) for at in blocks)
