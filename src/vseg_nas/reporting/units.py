"""Numbers as a person reads them."""

COUNTS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def quantity(number: int) -> str:
    """Three digits and a decimal prefix: `1_234_567` -> `1.23M`."""
    for size, prefix in COUNTS:
        if number >= 0.9995 * size:  # 999,500 would round to 1000k
            value = number / size
            return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}{prefix}"
    return str(number)


def duration(seconds: float) -> str:
    """`4.2 s`, `12 min 05 s`, `3 h 07 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
