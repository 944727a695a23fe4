"""The catalog: which class stands behind a wire name, and how an older version of it is read.

What is read is always the newest version that the code knows: older bodies pass through the upcasters, in sequence, as
plain dicts. What is sent carries the version of its own class. Both ways are checked against the class: Python lets a
struct be built with anything in its fields, and a body that no handler can read is cheaper refused than dead-lettered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar, cast

from partita.errors import DefinitionError, MessageError, NotFound, one_line, suggest
from partita.messages import codec
from partita.messages.message import MessageType, describe

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
U = TypeVar("U", bound=Upcaster)
Reader = Callable[[bytes, object], Any]

_upcasters: dict[type[Any], dict[int, Upcaster]] = {}


def upcast(cls: type[Any], *, from_version: int) -> Callable[[U], U]:
    """Declare how the body of version `from_version` becomes that of the next one: a function from dict to dict.

    Raises DefinitionError where the class has no later version, or where that step is declared already.
    """
    described = describe(cls)
    if not 1 <= from_version < described.version:
        raise DefinitionError(
            f"message {described.name} is version {described.version}: nothing to upcast from version {from_version}\n"
            f"Raise it first: class {cls.__name__}(..., version={max(from_version, 1) + 1})."
        )

    def register(function: U) -> U:
        known = _upcasters.setdefault(cls, {})
        if known.setdefault(from_version, function) is not function:
            raise DefinitionError(
                f"message {described.name}: version {from_version} has two upcasters\n"
                "Keep one: each leads one version up."
            )
        return function

    return register


class Catalog:
    """Message types by wire name and version. Iterating gives the newest version of each, in the order they came."""

    def __init__(self, classes: Iterable[type[Any]] = ()) -> None:
        self._by_class: dict[type[Any], MessageType] = {}
        self._by_version: dict[tuple[str, int], MessageType] = {}
        self._newest: dict[str, MessageType] = {}
        for cls in classes:
            self.add(cls)

    def __iter__(self) -> Iterator[MessageType]:
        return iter(list(self._newest.values()))

    def __len__(self) -> int:
        return len(self._newest)

    def __contains__(self, name: object) -> bool:
        return name in self._newest

    def add(self, cls: type[Any]) -> MessageType:
        """Take a class in; again is no harm. Raises DefinitionError where another one has its name and version."""
        known = self._by_class.get(cls)
        if known is not None:
            return known
        described = describe(cls)
        codec.check_readable(cls)
        self._refuse_clash(described)
        self._by_class[cls] = self._by_version[described.name, described.version] = described
        newest = self._newest.get(described.name)
        if newest is None or newest.version < described.version:
            self._newest[described.name] = described
        return described

    def find(self, name: str, version: int | None = None) -> MessageType | None:
        """The newest version of a message type, or the one asked for, or None."""
        return self._newest.get(name) if version is None else self._by_version.get((name, version))

    def get(self, name: str, version: int | None = None) -> MessageType:
        """The same. Raises NotFound, with the nearest known name."""
        found = self.find(name, version)
        if found is None:
            what = name if version is None or name not in self._newest else f"{name} version {version}"
            raise NotFound(f"message type {what} is not known here", self._remedy(name))
        return found

    def encode(self, message: object) -> tuple[MessageType, bytes]:
        """The type and the body of a message, checked. A class that is new here is taken in.

        Raises MessageError for a value that can't travel or can't be read back, DefinitionError for what is no message.
        """
        cls = type(message)
        described = self._by_class.get(cls) or self.add(cls)
        raw = codec.encode(message)
        try:
            codec.decode(raw, cls)
        except MessageError as error:
            raise MessageError(
                f"{_first_line(error)}\nBuild it with the types that {cls.__name__} declares."
            ) from error
        return described, raw

    def decode(self, name: str, version: int, raw: bytes) -> Any:
        """A message of ours, read as the newest version of its type.

        Raises MessageError where the type is unknown, the version is newer than the code, or the body does not fit.
        """
        return self._read(name, version, raw, codec.decode)

    def decode_strict(self, name: str, version: int, raw: bytes) -> Any:
        """The same for foreign bytes: also refuses what `codec.check_raw` refuses, and times without a time zone."""
        return self._read(name, version, raw, codec.decode_strict)

    def _refuse_clash(self, described: MessageType) -> None:
        same = self._by_version.get((described.name, described.version))
        newest = self._newest.get(described.name)
        if same is not None:
            raise DefinitionError(
                f"message {described.name} version {described.version} is both {same.cls!r} and {described.cls!r}\n"
                f'Give one another name or version: class {described.cls.__name__}(..., type="...", version=2).'
            )
        if newest is not None and newest.kind != described.kind:
            raise DefinitionError(
                f"message {described.name}: version {newest.version} is of kind {newest.kind}, "
                f'version {described.version} of kind {described.kind}\nGive one of them another name: type="...".'
            )

    def _read(self, name: str, version: int, raw: bytes, read: Reader) -> Any:
        newest = self._newest.get(name)
        if newest is None:
            raise MessageError(f"message type {name} is not known here\n{self._remedy(name)}")
        if newest.version == version:
            return read(raw, newest.cls)
        if version > newest.version:
            raise MessageError(
                f"message {name} has version {version}; this code knows it up to {newest.version}\n"
                "Deploy the code that knows it, then redrive the message."
            )
        return self._read_older(newest, version, raw, read)

    def _read_older(self, newest: MessageType, version: int, raw: bytes, read: Reader) -> Any:
        known = _upcasters.get(newest.cls, {})
        steps = [(n, known[n]) for n in range(max(version, 1), newest.version) if n in known]
        if not steps:
            try:
                return read(raw, newest.cls)
            except MessageError as error:
                raise MessageError(
                    f"{_first_line(error)}, in version {version}\n"
                    f"Say how it is read: @upcast({newest.cls.__name__}, from_version={version})."
                ) from error
        body = read(raw, dict[str, Any])
        for n, upcaster in steps:
            body = _upcasted(newest.name, n, upcaster, body)
        return read(codec.encode(body), newest.cls)

    def _remedy(self, name: str) -> str:
        return suggest(name, list(self._newest)) or "Declare it in a module that the app imports, or correct the name."


def _upcasted(
    name: str, version: int, upcaster: Callable[[dict[str, Any]], object], body: dict[str, Any]
) -> dict[str, Any]:
    try:
        made = upcaster(body)
    except Exception as error:  # the upcaster is users' code, and the body may lack what it looks for
        raise MessageError(
            f"message {name}: the upcaster from version {version} raised {type(error).__name__}: {one_line(error)}\n"
            "Mend the upcaster, or the body, then redrive the message."
        ) from error
    if not isinstance(made, dict):
        raise MessageError(
            f"message {name}: the upcaster from version {version} returned {type(made).__name__}\n"
            "Return the new body, a dict."
        )
    return cast("dict[str, Any]", made)


def _first_line(error: MessageError) -> str:
    return str(error).partition("\n")[0]
