"""Settings: where the store and the app are found: flag, environment, nearest `partita.toml`, then `./partita.db`."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from partita.errors import DefinitionError, Rejected, sentences, suggest
from partita.limits import Limits, check_setting

CONFIG_NAME = "partita.toml"
DEFAULT_STORE = "partita.db"
_KEYS = ("app", "store", "limits")
LIMITS_PREFIX = "PARTITA_LIMITS_"


@dataclass(frozen=True, slots=True)
class Settings:
    """The store's path and, where one is known, the app as `module:name`; `source` says where each came from."""

    store: Path
    app: str | None
    store_source: str
    app_source: str
    folder: Path
    """Where the app's module is looked for besides the import path."""


def find_settings(*, store: str | None = None, app: str | None = None, start: Path | None = None) -> Settings:
    """Find the store and the app. Raises Rejected for a store that is not SQLite, or a config that can't be read."""
    config, folder = _find_config(start or Path.cwd())
    found_store, store_source = _first(
        ("--store", store), ("PARTITA_STORE", os.environ.get("PARTITA_STORE")), (CONFIG_NAME, config.get("store"))
    )
    found_app, app_source = _first(
        ("--app", app), ("PARTITA_APP", os.environ.get("PARTITA_APP")), (CONFIG_NAME, config.get("app"))
    )
    base = folder if store_source == CONFIG_NAME else Path()
    path = store_path(found_store or DEFAULT_STORE)
    return Settings(base / path, found_app, store_source or "default", app_source or "none", folder)


def find_limits(limits: Limits, *, start: Path | None = None) -> Limits:
    """An app's limits, under what the operator says: `[limits]` in the nearest partita.toml, then the environment.

    Raises Rejected for what is no limit, naming where it stands.
    """
    config, folder = _find_config(start or Path.cwd())
    table = config.get("limits", {})
    if not isinstance(table, dict):
        raise Rejected(
            f"{folder / CONFIG_NAME}: limits is {table!r:.40}, not a table", "Write [limits], then a line for each."
        )
    file = str(folder / CONFIG_NAME)
    moved = [(name, value, file) for name, value in cast("dict[str, object]", table).items()]
    for variable, text in os.environ.items():
        if variable.startswith(LIMITS_PREFIX):
            moved.append((variable.removeprefix(LIMITS_PREFIX).lower(), _read_number(text), variable))
    for name, value, source in moved:
        try:
            check_setting(name, value)
        except DefinitionError as error:
            why, _, remedy = str(error).partition("\n")
            raise Rejected(f"{source}: {why}", remedy) from error
    try:
        return limits.with_settings({name: value for name, value, _source in moved})
    except DefinitionError as error:
        why, _, remedy = str(error).partition("\n")
        raise Rejected(why, remedy) from error


def _read_number(text: str) -> object:
    """A number as it is typed into an environment; the text itself where it is none."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


@contextmanager
def naming_store(store: Path) -> Generator[None]:
    """Let users' code, and what it starts, find the store that is run here, wherever it was named: as PARTITA_STORE."""
    before = os.environ.get("PARTITA_STORE")
    os.environ["PARTITA_STORE"] = str(store.absolute())
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("PARTITA_STORE", None)
        else:
            os.environ["PARTITA_STORE"] = before


def store_path(store: str) -> Path:
    """The file that a store URL or path names. Raises Rejected for another kind of store."""
    scheme, separator, rest = store.partition("://")
    if not separator:
        return Path(store)
    if scheme != "sqlite":
        raise Rejected(f"{scheme}: stores are not part of this version", "Use a path, or sqlite:///path.")
    if not rest.startswith("/") or rest == "/":
        raise Rejected(f"{store!r} names no file", "Write sqlite:///relative.db or sqlite:////absolute.db.")
    return Path(rest[1:])


def _first(*choices: tuple[str, object]) -> tuple[str | None, str]:
    for source, value in choices:
        if value:
            if not isinstance(value, str):
                raise Rejected(f"{source}: {value!r} is no text", "Write it in quotes.")
            return value, source
    return None, ""


def _find_config(start: Path) -> tuple[dict[str, object], Path]:
    for folder in (start.resolve(), *start.resolve().parents):
        path = folder / CONFIG_NAME
        if path.is_file():
            try:
                found = tomllib.loads(path.read_text("utf-8"))
            except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
                raise Rejected(f"{path} can't be read: {error}", "Mend it, or name --store and --app.") from error
            for key in found:
                if key not in _KEYS:
                    known = f"It knows {', '.join(_KEYS[:-1])} and {_KEYS[-1]}."
                    raise Rejected(f"{path}: {key} is no setting", sentences(suggest(key, _KEYS), known))
            return found, folder
    return {}, start.resolve()
