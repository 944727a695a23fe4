"""The static check: what a workflow's source names that no replay can repeat, and what to write instead."""

from __future__ import annotations

import ast
import inspect
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from typing_extensions import override

from partita.orchestration.source import UNKNOWN, ReadFunction, makes_step, walk_functions

_STEP = "Do it in a @step."
_TIME = "Use now()."
_CHANCE = "Draw it in a @step; an id comes from uuid()."
_UUID = "Use uuid()."
_TASKS = "Do it in a @step, or as an asyncio task."
_REMEDIES = {
    "asyncio.create_subprocess_exec": _STEP,
    "asyncio.create_subprocess_shell": _STEP,
    "asyncio.open_connection": _STEP,
    "asyncio.run": "Await it.",
    "asyncio.to_thread": _STEP,
    "builtins.input": _STEP,
    "builtins.open": _STEP,
    "concurrent.futures": _TASKS,
    "datetime.date.today": _TIME,
    "datetime.datetime.now": _TIME,
    "datetime.datetime.today": _TIME,
    "datetime.datetime.utcnow": _TIME,
    "multiprocessing": _TASKS,
    "os.getpid": _STEP,
    "os.popen": _STEP,
    "os.system": _STEP,
    "os.urandom": _CHANCE,
    "random": _CHANCE,
    "secrets": _CHANCE,
    "socket": _STEP,
    "subprocess": _STEP,
    "threading": _TASKS,
    "time.localtime": _TIME,
    "time.monotonic": _TIME,
    "time.monotonic_ns": _TIME,
    "time.perf_counter": _TIME,
    "time.perf_counter_ns": _TIME,
    "time.sleep": "Use asyncio.sleep().",
    "time.time": _TIME,
    "time.time_ns": _TIME,
    "uuid.getnode": _UUID,
    "uuid.uuid1": _UUID,
    "uuid.uuid4": _UUID,
}
_METHODS = {"run_in_executor": _STEP, "call_soon_threadsafe": _STEP}
_DEFINED_IN = {"posix": "os", "nt": "os", "_thread": "threading", "_random": "random", "_io": "builtins"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One place in a workflow's source, or in a helper's, that replay can't repeat."""

    file: str
    line: int
    function: str
    name: str
    remedy: str

    @override
    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.function} uses {self.name}\n{self.remedy}"


def check_source(fn: Callable[..., Any]) -> list[Finding]:
    """Everything of that kind in a function, and in the users' functions it names. Raises OSError without a source."""
    return [finding for function in walk_functions(fn) for finding in _check(function)]


def _check(function: ReadFunction) -> Iterator[Finding]:
    for node in _outermost(function, function.node):
        named = _name(function, node)
        remedy = _METHODS.get(node.attr) if isinstance(node, ast.Attribute) else None
        if named is not None:
            remedy = _find_remedy(named)
        if remedy is not None:
            yield Finding(function.file, node.lineno, function.node.name, named or ast.unparse(node), remedy)


def _outermost(function: ReadFunction, node: ast.AST) -> Iterator[ast.Name | ast.Attribute]:
    """Names, and whole dotted names, but for what is handed to a step."""
    for inner in ast.iter_child_nodes(node):
        if isinstance(inner, ast.Call) and makes_step(function, inner):
            continue
        if isinstance(inner, ast.Name | ast.Attribute) and _is_dotted(inner):
            yield inner
        else:
            yield from [inner] if isinstance(inner, ast.Attribute) else []
            yield from _outermost(function, inner)


def _is_dotted(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) or (isinstance(node, ast.Attribute) and _is_dotted(node.value))


def _name(function: ReadFunction, node: ast.expr) -> str | None:
    """What a dotted name is called where it was defined: `datetime.datetime.now` for `dt.now`."""
    found = function.look_up(node)
    if found is UNKNOWN:
        return None
    if isinstance(node, ast.Attribute):
        owner = function.look_up(node.value)
        if isinstance(owner, types.ModuleType | type):
            return f"{_own_name(owner)}.{node.attr}"
    return _own_name(found)


def _own_name(value: Any) -> str:
    if isinstance(value, types.ModuleType):
        return value.__name__
    owner: Any = getattr(value, "__self__", None)
    if inspect.isclass(owner):
        return f"{_own_name(owner)}.{value.__name__}"
    module = getattr(value, "__module__", None) or owner.__class__.__module__
    name = getattr(value, "__qualname__", type(value).__qualname__)
    return f"{_DEFINED_IN.get(str(module), module)}.{name}"


def _find_remedy(named: str) -> str | None:
    parts = named.split(".")
    return next((_REMEDIES[key] for n in range(len(parts), 0, -1) if (key := ".".join(parts[:n])) in _REMEDIES), None)
