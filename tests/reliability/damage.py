"""What disks and careless copies do to files."""

import random


def damaged(data: bytes, rng: random.Random) -> bytes:
    """One bit, a stretch of zeros, a cut, more bytes, nothing at all, or noise."""
    changed, place = bytearray(data), rng.randrange(len(data))
    match rng.randrange(6):
        case 0:
            changed[place] ^= 1 << rng.randrange(8)
        case 1:
            changed[place : place + 64] = bytes(len(changed[place : place + 64]))
        case 2:
            del changed[place:]
        case 3:
            changed += rng.randbytes(50)
        case 4:
            changed.clear()
        case _:
            changed = bytearray(rng.randbytes(len(data)))
    return bytes(changed)
