"""The user's mistakes: one line on stderr, exit status 2, no traceback. Everything else is our bug."""


class UserError(Exception):
    """Something the user can mend; the message is one line: file or key, what was found, what was expected."""


class ConfigError(UserError):
    """A configuration key or value that cannot be used."""


class DataError(UserError):
    """A data set, frame, mask, weight or cache file that cannot be used."""


class RunError(UserError):
    """A run directory that cannot be created, continued or read."""


class NonFiniteError(ArithmeticError):
    """A loss or a metric became NaN or infinite: in a search the candidate's fault, not the user's and not ours."""


class ExtraError(UserError):
    """A package that only some commands need is not installed; see `missing_extra`."""


def missing_extra(package: str, purpose: str, extra: str) -> ExtraError:
    """What to raise where an optional package cannot be imported: one line that names the command to install it."""
    return ExtraError(f"{package}: not installed, needed {purpose}; install it with: pip install 'vseg-nas[{extra}]'")


def one_line(text: str) -> str:
    """A message as one line of printable characters, whatever a file or a name has brought into it."""
    words = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in words)
