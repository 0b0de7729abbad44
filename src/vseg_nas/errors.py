"""The errors that a user can mend: one line on stderr and exit status 2, without a traceback.

Errors of all other classes are our bugs and keep their traceback. The exception are limits of the machine, which
`shortage` recognises.
"""

import errno


class UserError(Exception):
    """An error that the user can mend. Its message is one line: the file or key, what was found, what was expected."""


class ConfigError(UserError):
    """A configuration key or value that cannot be used."""


class DataError(UserError):
    """A data set, frame, mask, weight or cache file that cannot be used."""


class RunError(UserError):
    """A run directory that cannot be created, resumed or read."""


class NonFiniteError(ArithmeticError):
    """A loss or a metric became NaN or infinite. In a search this fails one candidate and is nobody's mistake."""


class ExtraError(UserError):
    """A package that only some commands need is not installed; see `missing_extra`."""


def missing_extra(package: str, purpose: str, extra: str) -> ExtraError:
    """Returns the error to raise where an optional package cannot be imported; it names the command that installs it.

    Args:
        package: The name of the missing package.
        purpose: The purpose that it is needed for, such as "to export to ONNX".
        extra: The extra of vseg-nas that installs it.
    """
    return ExtraError(f"{package}: not installed, needed {purpose}; install it with: pip install 'vseg-nas[{extra}]'")


_SHORTAGE_ERRNOS = (errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE)
_SHORTAGE_TEXTS = (
    "can't allocate memory",
    "Cannot allocate memory",
    "failed to map segment from shared object",
    "can't start new thread",
    "Too many open files",
)


def shortage(error: BaseException | None) -> str | None:
    """Returns one line if the system has refused this process memory, threads or file descriptors; None otherwise.

    Libraries report such a shortage by errors of many classes: NumPy by a MemoryError, torch by a RuntimeError, the
    loader of shared objects by an ImportError. Their class, number and text all have to be looked at.
    """
    by_number = isinstance(error, OSError) and error.errno in _SHORTAGE_ERRNOS
    text = " ".join(str(error).split())
    by_text = isinstance(error, RuntimeError | ImportError | OSError) and any(part in text for part in _SHORTAGE_TEXTS)
    if not (by_number or by_text or isinstance(error, MemoryError)):
        return None
    return f"this process: found {text[-150:] or 'no more memory'}, expected more memory or higher limits (ulimit -a)"


def one_line(text: str) -> str:
    """Returns a message as one line of printable characters, whatever file content or names it quotes."""
    words = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in words)


def first_line(error: BaseException, longest: int = 100) -> str:
    """Returns the first line of an error's message, at most ``longest`` characters; its class if it has no message."""
    line = " ".join(str(error).strip().partition("\n")[0].split())
    return line[:longest] or type(error).__name__
