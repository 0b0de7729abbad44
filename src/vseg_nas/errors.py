"""The user's mistakes: one line on stderr, exit status 2, no traceback. Everything else is our bug.

Or the machine's limit: see `shortage`.
"""

import errno


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


_REFUSALS = (errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE)
_SIGNS = (
    "can't allocate memory",
    "Cannot allocate memory",
    "failed to map segment from shared object",
    "can't start new thread",
    "Too many open files",
)


def shortage(error: BaseException | None) -> str | None:
    """What the system has refused this process, in one line, if that is what `error` says.

    Libraries tell a want of memory, threads or descriptors by errors of many classes: NumPy by a MemoryError, torch by
    a RuntimeError, the loader of shared objects by an ImportError.
    """
    refused = isinstance(error, OSError) and error.errno in _REFUSALS
    text = " ".join(str(error).split())
    told = isinstance(error, RuntimeError | ImportError | OSError) and any(sign in text for sign in _SIGNS)
    if not (refused or told or isinstance(error, MemoryError)):
        return None
    return f"this process: found {text[-150:] or 'no more memory'}, expected more memory or higher limits (ulimit -a)"


def one_line(text: str) -> str:
    """A message as one line of printable characters, whatever a file or a name has brought into it."""
    words = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in words)
