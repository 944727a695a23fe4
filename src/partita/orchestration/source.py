"""What a workflow's source says: the messages it waits for, calls, undoes and publishes, and the helpers it uses.

Names are looked up as Python would: in the function's closure, then its module. Plain functions that the workflow names
are read as well, unless they belong to partita, to the standard library, or to a @step.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import sys
import textwrap
import types
import typing
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, TypeGuard, get_args, get_origin

from typing_extensions import override

from partita.errors import DefinitionError
from partita.messages.message import Command, Event, is_message_class

_ACTS = "partita.orchestration."
UNKNOWN: Any = object()
Classes = tuple[type[Any], ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """Message classes, and names of workflows that are started as children, in the order they are met."""

    receives: Classes = ()
    calls: Classes = ()
    undoes: Classes = ()
    publishes: Classes = ()
    children: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReadFunction:
    """One function, parsed, with what its names mean."""

    file: str
    tree: ast.Module
    names: Mapping[str, Any]
    """Its closure, its module, the builtins."""
    local: frozenset[str]
    """Names that the function gives itself: what they mean is only known when it runs."""

    @property
    def node(self) -> ast.FunctionDef | ast.AsyncFunctionDef:
        """The function's own node."""
        first = self.tree.body[0]
        assert isinstance(first, ast.FunctionDef | ast.AsyncFunctionDef)
        return first

    def look_up(self, node: ast.expr) -> Any:
        """What a name, or a dotted one, stands for; `UNKNOWN` where that can't be said."""
        if isinstance(node, ast.Name):
            return UNKNOWN if node.id in self.local else self.names.get(node.id, UNKNOWN)
        if isinstance(node, ast.Attribute):
            owner = self.look_up(node.value)
            return UNKNOWN if owner is UNKNOWN else getattr(owner, node.attr, UNKNOWN)
        return UNKNOWN


@dataclass(slots=True)
class _Found:
    receives: list[type[Any]] = field(default_factory=list[type[Any]])
    calls: list[type[Any]] = field(default_factory=list[type[Any]])
    undoes: list[type[Any]] = field(default_factory=list[type[Any]])
    publishes: list[type[Any]] = field(default_factory=list[type[Any]])
    children: list[str] = field(default_factory=list[str])


def read_source(fn: Callable[..., Any], name: str, declared: Classes | None) -> Reading:
    """Read a workflow. `declared` are the types it says it receives; without them, each `receive` has to be plain.

    Raises DefinitionError where the source can't be had, or does not say what is waited for.
    """
    found = _Found()
    try:
        functions = list(walk_functions(fn))
    except (OSError, SyntaxError) as error:
        if declared is None:
            raise DefinitionError(
                f"workflow {name}: its source can't be read: {error}\n"
                f"Say what it waits for: @workflow(..., receives=(...)), or receives=() for nothing."
            ) from error
        return Reading(receives=declared)
    for function in functions:
        _Reader(function, found, name, strict=declared is None).visit(function.tree)
    receives = found.receives if declared is None else declared
    messages = (receives, found.calls, found.undoes, found.publishes)
    received, called, undone, published = (tuple(dict.fromkeys(some)) for some in messages)
    return Reading(received, called, undone, published, _own_children(fn, name) if found.children else ())


def _own_children(fn: Callable[..., Any], name: str) -> tuple[str, ...]:
    """The workflows that one starts itself: what a child starts is no child of its parent."""
    found = _Found()
    for function in walk_functions(fn, into_children=False):
        _Reader(function, found, name, strict=False).visit(function.tree)
    return tuple(dict.fromkeys(found.children))


def fingerprint(fn: Callable[..., Any]) -> str:
    """12 hex digits that change when the code of a function, or of a helper it names, does; not with its comments."""
    digest = blake2b(digest_size=6)
    try:
        for function in walk_functions(fn):
            digest.update(ast.unparse(function.tree).encode())
    except (OSError, SyntaxError):
        code = fn.__code__
        digest.update(code.co_code + repr((code.co_names, code.co_varnames)).encode())
    return digest.hexdigest()


def walk_functions(fn: Callable[..., Any], *, into_children: bool = True) -> Iterator[ReadFunction]:
    """A function, then the users' plain functions that it names, then theirs. Raises OSError without a source."""
    waiting: list[Any] = [fn]
    seen: set[types.CodeType] = set()
    while waiting:
        found = waiting.pop(0)
        if found.__code__ in seen:
            continue
        seen.add(found.__code__)
        try:
            read = read_function(found)
        except (OSError, SyntaxError):
            if found is fn:
                raise
            continue  # a helper that was made at run time
        yield read
        waiting += _named_functions(read, into_children=into_children)


def read_function(fn: types.FunctionType) -> ReadFunction:
    """Parse one function. Raises OSError where its source can't be had, SyntaxError where it is no whole statement."""
    try:
        lines, first = inspect.getsourcelines(fn)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (TypeError, IndentationError) as error:
        raise OSError(str(error)) from error
    # A lambda's lines are those of the statement around it.
    first_node = tree.body[0] if tree.body else None
    if not isinstance(first_node, ast.FunctionDef | ast.AsyncFunctionDef) or first_node.name != fn.__code__.co_name:
        raise OSError(f"{fn.__qualname__} is not written as a function")
    ast.increment_lineno(tree, first - 1)
    names = ChainMap(_closure(fn), fn.__globals__, builtins.__dict__)
    return ReadFunction(fn.__code__.co_filename, tree, names, frozenset(_local_names(first_node)))


class _Reader(ast.NodeVisitor):
    """Walks one function and notes its messages."""

    def __init__(self, function: ReadFunction, found: _Found, workflow: str, *, strict: bool) -> None:
        self._function = function
        self._found = found
        self._workflow = workflow
        self._strict = strict
        self._undos: set[str] = set()

    @override
    def visit_AsyncWith(self, node: ast.AsyncWith) -> None:
        for item in node.items:
            made = item.context_expr
            if (
                isinstance(made, ast.Call)
                and is_act(self._function.look_up(made.func), "saga")
                and isinstance(item.optional_vars, ast.Name)
            ):
                self._undos.add(item.optional_vars.id)
        self.generic_visit(node)

    @override
    def visit_Call(self, node: ast.Call) -> None:
        called = self._function.look_up(node.func)
        first = node.args[0] if node.args else None
        if is_act(called, "call"):
            self._found.calls += self._messages(first, Command)
        elif is_act(called, "publish"):
            self._found.publishes += self._messages(first, Event)
        elif is_act(called, "receive"):
            self._found.receives += self._awaited(first, node)
        elif is_act(called, "child"):
            self._found.children += self._workflows(first)
        elif isinstance(node.func, ast.Name) and node.func.id in self._undos:
            self._found.undoes += self._messages(first, Command)
        for keyword in node.keywords:
            if keyword.arg == "undo" and is_act(called, "call"):
                self._found.undoes += self._messages(keyword.value, Command)
        self.generic_visit(node)

    def _workflows(self, node: ast.expr | None) -> list[str]:
        """The names of the workflows that an expression may stand for."""
        if isinstance(node, ast.IfExp):
            return [*self._workflows(node.body), *self._workflows(node.orelse)]
        found = UNKNOWN if node is None else self._function.look_up(node)
        return [found.name] if str(type(found).__module__).startswith(_ACTS) and hasattr(found, "fn") else []

    def _messages(self, node: ast.expr | None, kind: type[Any]) -> list[type[Any]]:
        """The classes of the messages that an expression may make: built in place, chosen, or named before."""
        if isinstance(node, ast.Call):
            cls = self._function.look_up(node.func)
            return [cls] if is_message_class(cls) and issubclass(cls, kind) else []
        if isinstance(node, ast.IfExp):
            return [*self._messages(node.body, kind), *self._messages(node.orelse, kind)]
        if isinstance(node, ast.Name):
            return [cls for value in self._given(node.id) for cls in self._messages(value, kind)]
        return []

    def _given(self, name: str) -> Iterator[ast.expr]:
        """What this function assigns to a name."""
        for node in ast.walk(self._function.tree):
            match node:
                case ast.Assign(targets=[ast.Name(id=target)], value=value) if target == name:
                    if not isinstance(value, ast.Name):
                        yield value
                case ast.AnnAssign(target=ast.Name(id=target), value=ast.expr() as value) if target == name:
                    if not isinstance(value, ast.Name):
                        yield value
                case _:
                    pass

    def _awaited(self, node: ast.expr | None, call: ast.Call) -> list[type[Any]]:
        if node is None:
            node = next((keyword.value for keyword in call.keywords if keyword.arg == "type"), None)
        classes = None if node is None else self._union(node)
        if classes is not None:
            return classes
        if not self._strict:
            return []
        where = f"{self._function.file}:{call.lineno}"
        raise DefinitionError(
            f"workflow {self._workflow}: {where}: the source does not say what {ast.unparse(call)} waits for\n"
            "Name the types: @workflow(..., receives=(...))."
        )

    def _union(self, node: ast.expr) -> list[type[Any]] | None:
        """The message classes that a type expression names, or None."""
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            left, right = self._union(node.left), self._union(node.right)
            return None if left is None or right is None else left + right
        if isinstance(node, ast.Subscript) and self._function.look_up(node.value) is typing.Union:
            parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            found = [self._union(part) for part in parts]
            return None if None in found else [cls for some in found if some is not None for cls in some]
        return _flatten(self._function.look_up(node))


def is_act(value: object, name: str) -> bool:
    """Whether a value is the act of that name, as users write it."""
    return getattr(value, "__name__", None) == name and str(getattr(value, "__module__", "")).startswith(_ACTS)


def is_users(fn: object) -> TypeGuard[types.FunctionType]:
    """Whether a value is a plain function of the users', whose code is part of the workflow."""
    if not isinstance(fn, types.FunctionType) or hasattr(fn, "partita_step"):
        return False
    room = fn.__module__.partition(".")[0]
    return room != "partita" and room not in sys.stdlib_module_names


def _flatten(value: Any) -> list[type[Any]] | None:
    if get_origin(value) in {typing.Union, types.UnionType}:
        found = [_flatten(part) for part in get_args(value)]
        return None if None in found else [cls for some in found if some is not None for cls in some]
    return [value] if is_message_class(value) else None


def _named_functions(function: ReadFunction, *, into_children: bool) -> Iterator[types.FunctionType]:
    """The users' functions that a function names, but for those it hands to `step`."""
    apart: set[int] = set()
    for node in ast.walk(function.node):
        starts = isinstance(node, ast.Call) and not into_children and is_act(function.look_up(node.func), "child")
        if isinstance(node, ast.Call) and (starts or makes_step(function, node)):
            apart |= {id(inner) for argument in node.args for inner in ast.walk(argument)}
        elif isinstance(node, ast.Name | ast.Attribute) and id(node) not in apart:
            found = function.look_up(node)
            inner = getattr(found, "fn", None) if str(type(found).__module__).startswith(_ACTS) else found
            if is_users(inner):
                yield inner


def makes_step(function: ReadFunction, node: ast.Call) -> bool:
    """Whether a call is `step(fn)` or `step(...)(fn)`: what it is given is no code of the workflow."""
    made = node.func.func if isinstance(node.func, ast.Call) else node.func
    return is_act(function.look_up(made), "step")


def _closure(fn: types.FunctionType) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
        with suppress(ValueError):  # not filled yet
            found[name] = cell.cell_contents
    return found


def _local_names(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    declared: set[str] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Global | ast.Nonlocal):
            declared.update(node.names)
    for node in ast.walk(function):
        match node:
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store() | ast.Del()) | ast.ExceptHandler(name=str(name)):
                yield from () if name in declared else (name,)
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                if node is not function:
                    yield name
            case ast.alias(name=name, asname=shown):
                yield shown or name.partition(".")[0]
            case _:
                pass
