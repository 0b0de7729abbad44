"""Opens a run on Weights & Biases: online if possible, otherwise offline. W&B never ends a command."""

import configparser
import logging
import netrc
import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit
from urllib.request import getproxies

from vseg_nas.errors import first_line
from vseg_nas.runs.streams import say

Mode = Literal["auto", "online", "offline"]

RunMode = Literal["online", "offline", "disabled"]
MODES: tuple[RunMode, ...] = ("online", "offline", "disabled")  # if one fails, the next is tried
DEFAULT_HOSTS = ("api.wandb.ai", "api.forge.coreweave.com")  # older and newer releases of wandb
# Without a finish timeout, `finish` of an offline run returns before the file is written.
SETTINGS: dict[str, Any] = {"silent": True, "console": "off", "finish_timeout": 60.0}
ONLINE_SETTINGS: dict[str, Any] = {"init_timeout": 20.0, "login_timeout": 20.0}
_CONNECT_TIMEOUT_S = 2.0
SECRET = re.compile(r"(key|token|secret|password)s?$", re.IGNORECASE)

log = logging.getLogger(__name__)


def open_wandb(
    mode: Mode, dir: Path, project: str, name: str, config: Mapping[str, Any], group: str | None = None
) -> Any:
    """Opens a W&B run that prints nothing: online, otherwise offline, otherwise one that logs nowhere.

    If W&B refuses a variable of the environment, a settings file, a key or a folder, that costs one warning and the
    connection, but the command goes on.

    Args:
        mode: ``auto`` means online if an API key is found and offline if not, unless WANDB_MODE says otherwise.
        dir: The folder in which W&B makes its folder ``wandb``.
        project: The name of the project on W&B.
        name: The name of the run.
        config: Plain data to store with the run; values of keys that are named like secrets are left out.
        group: The group of runs on W&B, such as a sweep; None means no group.

    Returns:
        The `wandb.Run`, for one of the loggers, which finishes it; None if nothing can be logged.
    """
    dir.mkdir(parents=True, exist_ok=True)
    _remove_empty_variables()
    wanted: RunMode = _mode(os.environ) if mode == "auto" else mode
    problem = _remove_refused_variables()
    attempts = MODES[MODES.index(wanted) :]
    if problem and wanted == "online":  # a variable may have named a server of one's own, so no other one is asked
        attempts = MODES[1:]
    for attempt in attempts:
        try:
            run = _open(attempt, dir, project, name, config, group)
        except wandb_errors() as error:
            problem = problem or first_line(error, longest=500)
            continue
        if problem:
            warn(f"W&B run is {attempt}, the work goes on: {problem}")
        return run
    warn(f"W&B run cannot be opened, the work goes on without: {problem}")
    return None


def _open(mode: RunMode, dir: Path, project: str, name: str, config: Mapping[str, Any], group: str | None) -> Any:
    import wandb

    if mode == "online":
        _check_server()
    chosen = SETTINGS | (ONLINE_SETTINGS if mode == "online" else {})
    # Settings come and go between releases of wandb; those that this one lacks are not missed.
    settings = wandb.Settings(**{k: v for k, v in chosen.items() if k in wandb.Settings.model_fields})
    wandb.setup(settings)  # or logging in is announced, silent or not
    return wandb.init(
        mode=mode,
        dir=str(dir),
        project=project,
        name=name,
        group=group,
        config=without_secrets(config),
        settings=settings,
    )


def wandb_errors() -> tuple[type[Exception], ...]:
    """Returns the errors of W&B, its server and its settings, which cost only a warning."""
    import wandb
    from wandb.sdk.mailbox import HandleAbandonedError, MailboxClosedError

    return (
        wandb.errors.Error,
        ValueError,  # pydantic's ValidationError is one, and so is text that is no UTF-8
        OSError,  # folders, sockets, time-outs; a dead wandb process is a ConnectionResetError
        configparser.Error,  # its settings files
        netrc.NetrcParseError,
        HandleAbandonedError,  # its process is gone
        MailboxClosedError,
    )


def _remove_empty_variables() -> None:
    """Removes WANDB_ variables without a value from the environment: they mean nothing, and W&B refuses some."""
    for name, value in list(os.environ.items()):
        if name.startswith("WANDB_") and not value.strip():
            del os.environ[name]


def _remove_refused_variables() -> str:
    """Removes WANDB_ variables that W&B refuses from the environment of this process and its children.

    Returns:
        The variables that were removed, for a warning; empty if there were none.
    """
    import wandb

    refused = []
    for name, value in list(os.environ.items()):
        if name.startswith("WANDB_"):
            try:
                wandb.Settings().update_from_env_vars({name: value})
            except wandb_errors():
                refused.append(name)
                del os.environ[name]
    return f"{', '.join(refused)}: found a value that W&B does not accept" if refused else ""


def _mode(env: Mapping[str, str]) -> RunMode:
    given = {"run": "online", "dryrun": "offline"}.get(env.get("WANDB_MODE", ""), env.get("WANDB_MODE"))
    for mode in MODES:
        if given == mode:
            return mode
    return "online" if has_credentials(env) else "offline"


def _check_server() -> None:
    """Finds out within two seconds whether a server answers; W&B itself would try for twenty.

    Raises:
        OSError: No server answers, and there is no proxy to ask instead.
    """
    own = urlsplit(os.environ.get("WANDB_BASE_URL", ""))
    hosts = (own.hostname,) if own.hostname else DEFAULT_HOSTS
    port = own.port or (80 if own.scheme == "http" else 443)
    problem: OSError | None = None
    for host in hosts if not getproxies() else ():
        try:
            socket.create_connection((host, port), timeout=_CONNECT_TIMEOUT_S).close()
            return
        except OSError as error:
            problem = error
    if problem is not None:
        raise problem


def warn(message: str) -> None:
    """Writes a warning to the log of the run and to standard error, so that no fallback is silent."""
    log.warning(message)
    say(f"warning: {message}")


def has_credentials(env: Mapping[str, str]) -> bool:
    """Returns whether wandb would find an API key in the environment or in the netrc file, without any network."""
    if env.get("WANDB_API_KEY") or env.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    own_server = env.get("WANDB_BASE_URL")
    try:
        hosts = (urlsplit(own_server).netloc,) if own_server else DEFAULT_HOSTS
        home = Path.home()
        paths = [Path(env["NETRC"]).expanduser()] if env.get("NETRC") else [home / ".netrc", home / "_netrc"]
        path = next(path for path in paths if path.is_file())
        entries = netrc.netrc(path)
    except (StopIteration, netrc.NetrcParseError, OSError, ValueError, RuntimeError):  # no text; no home
        return False
    return any(entries.authenticators(host) for host in hosts)


def without_secrets(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a copy without the values of keys such as ``api_key`` or ``password``, at any depth."""

    def clean(key: str, value: Any) -> Any:
        if SECRET.search(key):
            return "(left out)"
        return without_secrets(value) if isinstance(value, Mapping) else value

    return {key: clean(str(key), value) for key, value in config.items()}
