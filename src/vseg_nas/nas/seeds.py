"""Seeds that are derived from other seeds. No torch in this file."""

from vseg_nas.runs.digests import digest_of


def derive_seed(seed: int, *path: str | int) -> int:
    """Returns a 31-bit seed for one use (`path`) of a seed.

    It is the same in every process, and unlike the seed of any other use.
    """
    text = ":".join(map(str, (seed, *path)))
    return int(digest_of(text)[:8], 16) >> 1
