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
