"""Commands and settings files that are wrong, and the three parts of what their authors must be told."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from farthing.base.storage.lock import FileLock
from farthing.cli.main import main

#: Something in the world that is not as the command needs it, for as long as the block runs.
World = Callable[[Path], contextlib.AbstractContextManager[dict[str, str]]]


class Slip(msgspec.Struct, frozen=True, kw_only=True):
    """One wrong command.

    did: what its author did, as the page says it. parts: what happened, to what, what to do next. toml: the
    settings file; other texts by name in `files`. `{port}` in an argument comes from the world.
    """

    did: str
    parts: tuple[str, str, str]
    arguments: tuple[str, ...]
    code: int = 1
    toml: str | None = None
    files: dict[str, str] = {}
    world: World | None = None


TABLE: list[Slip] = []


def run(slip: Slip, folder: Path) -> tuple[int, str]:
    """Make the mistake in a folder of its own; exit code and everything that is printed."""
    if slip.toml is not None:
        (folder / "farthing.toml").write_text(slip.toml)
    for name, text in slip.files.items():
        (folder / name).write_text(text)
    with ExitStack() as stack:
        known = stack.enter_context(slip.world(folder)) if slip.world else {}
        stack.enter_context(contextlib.chdir(folder))
        arguments = [argument.format(**known) if known else argument for argument in slip.arguments]
        return command(*arguments)


def command(*arguments: str) -> tuple[int, str]:
    """One command in this process, through the same door as on the terminal."""
    told = io.StringIO()
    before, mask = (sys.argv, sys.stdin), os.umask(0o022)
    sys.argv, sys.stdin = ["farthing", *arguments], io.StringIO()
    try:
        with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
            main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        sys.argv, sys.stdin = before
        os.umask(mask)
    return code, told.getvalue()


def _add(did: str, *parts: str, run: str, code: int = 1, **more: object) -> None:
    happened, subject, advice = parts
    arguments = tuple(run.split())
    TABLE.append(
        Slip(did=did, parts=(happened, subject, advice), arguments=arguments, code=code, **more)  # type: ignore[arg-type]
    )


def _setting(did: str, *parts: str, toml: str) -> None:
    _add(did, *parts, run="config check", toml=toml)


# ── Settings ─────────────────────────────────────────────────────────────────────────────────

_PROVIDER = '[providers.p]\ntype = "openai"\nkey = "env:KEY"\n'
_setting(
    "wrote what is no TOML",
    "not valid TOML",
    "farthing.toml:2:8",
    "Strings need quotes",
    toml="[server]\nport = = 1\n",
)
_setting(
    "misspelled a setting",
    "There is no setting",
    "farthing.toml:2:1",
    "'port'",
    toml="[server]\nprot = 1\n",
)
_setting(
    "misspelled a table",
    "There is no setting",
    "farthing.toml:1",
    "'server'",
    toml="[sever]\nport = 1\n",
)
_setting(
    "gave text for a number",
    "got a string",
    "farthing.toml:2:1: server.port",
    "expects an integer",
    toml='[server]\nport = "x"\n',
)
_setting(
    "gave a port out of range",
    "expects an integer",
    "server.port",
    "<= 65535",
    toml="[server]\nport = 70000\n",
)
_setting(
    "gave a negative time", "expects a number", "cache.ttl_s", "> 0", toml="[cache]\nttl_s = -1\n"
)
_setting(
    "left a required setting out",
    "lacks 'type'",
    "providers.p",
    "Vendor protocol or vendor row",
    toml="[providers.p]\nkey = 'env:K'\n",
)
_setting(
    "named a vendor type that is none",
    "there is no provider type",
    "'opnai'",
    "Did you mean 'openai'",
    toml='[providers.p]\ntype = "opnai"\n',
)
_setting(
    "named a provider that is not there",
    "there is no provider 'q'",
    "deployments.d.provider",
    "Add a table [providers.q]",
    toml=_PROVIDER + '[deployments.d]\nprovider = "q"\nmodel = "gpt-4o"\n',
)
_setting(
    "named a deployment that is not there",
    "there is no deployment 'dd'",
    "routes.r.deployments[0]",
    "Did you mean 'd'",
    toml=_PROVIDER
    + '[deployments.d]\nprovider = "p"\nmodel = "gpt-4o"\n[routes.r]\ndeployments = ["dd"]\n',
)
_setting(
    "named a fallback that is not there",
    "there is no route or model 'rr'",
    "routes.r.fallbacks[0]",
    "Did you mean 'r'",
    toml=_PROVIDER
    + '[deployments.d]\nprovider = "p"\nmodel = "gpt-4o"\n[routes.r]\ndeployments = ["d"]\nfallbacks = ["rr"]\n',
)
_setting(
    "let aliases run in a circle",
    "goes in a circle",
    "aliases.a",
    "Let one of them",
    toml=_PROVIDER + '[aliases]\na = "b"\nb = "a"\n',
)
_setting(
    "named a table twice",
    "twice",
    "farthing.toml:3",
    "may stand only once",
    toml="[server]\nport = 1\n[server]\nport = 2\n",
)
_setting(
    "left out an Azure resource's address",
    "is missing",
    "providers.p.base_url",
    "Write it like",
    toml='[providers.p]\ntype = "azure"\nkey = "k"\n',
)
_setting(
    "wrote a price that is none",
    "is not an amount",
    "deployments.d.price.input",
    "write it like",
    toml=_PROVIDER + '[deployments.d]\nprovider = "p"\nmodel = "x"\nprice = { input = "cheap" }\n',
)
_setting(
    "wrote an address without http",
    "is not an http:// or https:// address",
    "providers.p.base_url",
    "Write it like",
    toml=_PROVIDER + 'base_url = "api.example.com/v1"\n',
)
_setting(
    "named a TLS certificate without its key",
    "is set but server.tls_key is not",
    "server.tls_cert",
    "TLS needs both",
    toml='[server]\ntls_cert = "farthing.toml"\n',
)
_setting(
    "named a key file that is not there",
    "there is no file",
    "providers.p.key",
    "Create it or correct",
    toml='[providers.p]\ntype = "openai"\nkey = "file:/nowhere/key"\n',
)
_setting(
    "wrote a budget that is no amount",
    "is not an amount",
    "budgets.b.dollars",
    "write it like",
    toml='[budgets.b]\ndollars = "lots"\n',
)
_setting(
    "chose a window that is none",
    "expects one of",
    "budgets.b.window",
    "month",
    toml='[budgets.b]\ndollars = 5\nwindow = "year"\n',
)
_setting(
    "wrote a database address that is none",
    "names no database",
    "storage.url",
    "Write `sqlite:PATH`",
    toml='[storage]\nurl = "mysql://x"\n',
)
_setting(
    "put a space in a name",
    "without spaces",
    'routes."a b"',
    "It travels in HTTP headers",
    toml=_PROVIDER
    + '[deployments.d]\nprovider = "p"\nmodel = "gpt-4o"\n[routes."a b"]\ndeployments = ["d"]\n',
)
_setting(
    "named a scenario that is not there",
    "cannot be read",
    "nowhere.toml",
    "built-in scenarios",
    toml='[providers.p]\ntype = "sim"\nscenario = "nowhere.toml"\n',
)
_setting(
    "named a folder of recordings that is not there",
    "there is no folder",
    "providers.p.directory",
    "Correct the path",
    toml='[providers.p]\ntype = "replay"\ndirectory = "nowhere"\n',
)
_add(
    "checked a file that is not there",
    "does not exist",
    "nowhere.toml",
    "Correct the path",
    run="config check nowhere.toml",
)
_add(
    "started with a mistake in the settings",
    "There is no setting",
    "farthing.toml:2:1",
    "'port'",
    run="up",
    toml="[server]\nprot = 1\n",
)
_add(
    "started with a settings file that is not there",
    "does not exist",
    "nowhere.toml",
    "`farthing config init`",
    run="up --config nowhere.toml",
)
_add(
    "imported a file that is not there",
    "does not exist",
    "nowhere.yaml",
    "--help",
    run="config import nowhere.yaml",
    code=2,
)
_add(
    "began settings where there are some",
    "was left as it is",
    "farthing.toml",
    "move it away",
    run="config init",
    toml="",
)

# ── The port and the database ────────────────────────────────────────────────────────────────


@contextmanager
def _taken_port(folder: Path) -> Iterator[dict[str, str]]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield {"port": str(other.getsockname()[1])}


def _database(folder: Path) -> Path:
    file = folder / ".farthing" / "farthing.db"
    file.parent.mkdir(exist_ok=True)
    return file


@contextmanager
def _version_999(folder: Path) -> Iterator[dict[str, str]]:
    file = _database(folder)
    with contextlib.chdir(folder):
        command("keys", "list")
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("INSERT INTO migrations VALUES ('accounts', 999, 'from the future')")
        connection.commit()
    yield {}


@contextmanager
def _no_database(folder: Path) -> Iterator[dict[str, str]]:
    _database(folder).write_text("This is a letter, and no database at all. " * 100)
    yield {}


@contextmanager
def _folder_for_database(folder: Path) -> Iterator[dict[str, str]]:
    _database(folder).mkdir()
    yield {}


@contextmanager
def _file_for_folder(folder: Path) -> Iterator[dict[str, str]]:
    (folder / ".farthing").write_text("")
    yield {}


@contextmanager
def _owned(folder: Path) -> Iterator[dict[str, str]]:
    lock = FileLock(_database(folder).with_name("farthing.db.lock"))
    lock.acquire()
    try:
        yield {}
    finally:
        lock.release()


_UP = "up --no-detect --port 0"
_add(
    "took a port that is in use",
    "is in use",
    "Port",
    "choose another port",
    run="up --no-detect --port {port}",
    world=_taken_port,
)
_add(
    "listened for others without keys",
    "Other machines can reach 0.0.0.0",
    "no key",
    "`farthing keys create NAME`",
    run=f"{_UP} --host 0.0.0.0",
)
_add(
    "opened a database of a newer version",
    "by a newer Farthing",
    "farthing.db",
    "Upgrade Farthing",
    run=_UP,
    world=_version_999,
)
_add(
    "opened a file that is no database",
    "is not a database",
    "farthing.db",
    "Choose another file",
    run=_UP,
    world=_no_database,
)
_add(
    "put a folder where the database belongs",
    "unable to open",
    "farthing.db",
    "It must be a file",
    run=_UP,
    world=_folder_for_database,
)
_add(
    "put a file where the folder belongs",
    "File exists",
    ".farthing",
    "move it away, or set another storage.url",
    run=_UP,
    world=_file_for_folder,
)
_add(
    "kept the database where nobody may write",
    "No such file or directory",
    "/proc/farthing.db",
    "may this user write there",
    run=_UP,
    toml='[storage]\nurl = "sqlite:/proc/farthing.db"\n',
)
_add(
    "asked for a Postgres that is not there",
    "Connection refused",
    "127.0.0.1:9/nowhere",
    "Is it running",
    run=_UP,
    toml='[storage]\nurl = "postgresql://postgres@127.0.0.1:9/nowhere"\n',
)
_add(
    "named a certificate that is none",
    "TLS cannot use",
    "farthing.toml",
    "as PEM",
    run=_UP,
    toml='[server]\ntls_cert = "farthing.toml"\ntls_key = "farthing.toml"\n',
)
_add(
    "started two gateways on one database",
    "is in use by the process",
    "farthing.db",
    "End that process",
    run=_UP,
    world=_owned,
)

# ── Commands ─────────────────────────────────────────────────────────────────────────────────

_add(
    "misspelled the command", "There is no command", "'upp'", "Did you mean 'up'", run="upp", code=2
)
_add("misspelled an option", "No such option", "--prot", "--port", run="up --prot 1", code=2)
_add(
    "gave a port that is none",
    "not in the range",
    "--port",
    "farthing up --help",
    run="up --port 70000",
    code=2,
)
_add(
    "misspelled a subcommand",
    "No such command",
    "'lst'",
    "Did you mean 'list'",
    run="keys lst",
    code=2,
)
_add("asked nothing", "There is no", "question", "Try: farthing ask", run="ask", code=2)
_add(
    "asked a model that is not there",
    "There is no model",
    "'sim/smal'",
    "Did you mean 'sim/small",
    run="ask Hi -m sim/smal",
)
_add(
    "asked a gateway that is not there",
    "cannot be reached",
    "http://127.0.0.1:9",
    "Start one with `farthing up`",
    run="ask Hi -m x --url http://127.0.0.1:9",
)
_add(
    "asked with a file that is not there",
    "does not exist",
    "nowhere.txt",
    "--help",
    run="ask Hi -m sim/small -f nowhere.txt",
    code=2,
)
_add(
    "made a key without a name",
    "Missing argument",
    "NAME",
    "farthing keys create --help",
    run="keys create",
    code=2,
)
_add(
    "revoked a key that is not there",
    "There is no key",
    "'nobody'",
    "`farthing keys list`",
    run="keys revoke nobody",
)
_add(
    "gave a key a role that is none",
    "is not one of",
    "'king'",
    "'caller', 'viewer', 'admin'",
    run="keys create x --role king",
    code=2,
)
_add(
    "set a budget of lots",
    "is not an amount",
    "'lots'",
    "write it like",
    run="budget set b lots",
    code=2,
)
_add(
    "set a budget of too fine an amount",
    "more than nine decimals",
    "0.0000000001",
    "the smallest amount",
    run="budget set b 0.0000000001",
    code=2,
)
_add(
    "removed a budget that is not there",
    "There is no budget",
    "'b'",
    "`farthing budget list`",
    run="budget remove b",
)
_add(
    "asked for spend of a span that is none",
    "Invalid value",
    "--since",
    "write it like 30m",
    run="spend --since 7y",
    code=2,
)
_add(
    "asked for spend by colour",
    "is not one of",
    "'colour'",
    "'team'",
    run="spend --by colour",
    code=2,
)
_add(
    "confirmed a call that holds nothing",
    "No money is held",
    "call_x",
    "`farthing spend --unsettled`",
    run="spend --confirm call_x 1",
)
_add(
    "asked the price of a model that is not there",
    "No price",
    "'gpt-4oo'",
    "Did you mean 'gpt-4o'",
    run="prices show gpt-4oo",
)
_add(
    "imported prices from a file that is not there",
    "does not exist",
    "nowhere.json",
    "--help",
    run="prices import nowhere.json",
    code=2,
)
_add(
    "simulated a scenario that is not there",
    "cannot be read",
    "nowhere.toml",
    "built-in scenarios",
    run="sim up --scenario nowhere.toml",
)
_add(
    "misspelled a setting of a scenario",
    "regoins",
    "s.toml",
    "regions",
    run="sim up --scenario s.toml",
    files={"s.toml": 'name = "x"\n[models]\n[regoins.a]\n'},
)
_add(
    "wrote a scenario that is no TOML",
    "This is no TOML",
    "s.toml",
    "Fix the syntax",
    run="sim up --scenario s.toml",
    files={"s.toml": "name = = 1\n"},
)
_add(
    "asked for the completion of a shell that is none",
    "is not one of",
    "'tcsh'",
    "'bash'",
    run="completion tcsh",
    code=2,
)
