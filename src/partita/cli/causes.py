"""Causes and what mends them, as lines for a person: why, dead letters, groups, and what came of a request."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Iterator, Sequence

from partita.cli.output import Line, Span, clean, columns
from partita.cli.render import When, say_dead, say_error
from partita.cli.suggesting import Mends, as_typed
from partita.monitor.leaves import WhyNode
from partita.monitor.state import QUARANTINE
from partita.monitor.story import say_attempts
from partita.monitor.why import WhyTree
from partita.runtime.look import DeadView, GroupLine
from partita.runtime.requests import Reply, Request


def why_lines(tree: WhyTree, when: When, mends: Mends) -> Iterator[Line]:
    """The leading cause, its evidence and the command that mends it; then the other causes, dimmed."""
    leading = tree.leading
    answer = "" if tree.happened else f"no {tree.outcome}: "
    style = "good" if tree.happened else "bad"
    yield (Span(clean(tree.case), "strong"), Span("  "), Span(clean(answer), style), Span(clean(leading.sentence)))
    rows = [(Span(when.exact(one.at), "dim"), Span(clean(one.text))) for one in leading.evidence]
    yield from columns(rows, indent=2)
    if leading.command:
        verb = "look at it" if leading.command.startswith("partita show") else "mend it"
        yield (Span(f"  {verb}:  ", "dim"), Span(mends.complete(leading.command), "strong"))
    others = [node for node in _leaves(tree.root) if (node.leaf, node.sentence) != (leading.leaf, leading.sentence)]
    if others:
        yield ()
        yield (Span("also", "dim"),)
    for node in others:
        yield (Span(f"  {clean(node.sentence)}", "dim"),)
        if node.command and not node.command.startswith("partita show"):
            yield (Span(f"    {mends.complete(node.command)}", "dim"),)


def _leaves(node: WhyNode) -> Iterator[WhyNode]:
    """Every leaf once, nearest first."""
    level, seen = [node], set[tuple[str | None, str]]()
    while level:
        for one in level:
            if one.leaf is not None and (one.leaf, one.sentence) not in seen:
                seen.add((one.leaf, one.sentence))
                yield one
        level = [below for one in level for below in one.needs]


# Dead letters.


def dead_lines(letters: Sequence[DeadView], when: When) -> Iterator[Line]:
    """One dead letter a line, oldest first; its error stands last, since it may be long."""
    if not letters:
        yield (Span("no dead letters"),)
        return
    heads: Line = tuple(Span(name, "dim") for name in ("id", "case", "message", "group", "since", "error"))
    yield from columns([heads, *(_dead_row(letter, when) for letter in letters)])


def _dead_row(letter: DeadView, when: When) -> Line:
    return (
        Span(clean(letter.id), "strong"),
        Span(clean(letter.case or "-")),
        Span(clean(letter.type or "-")),
        Span(clean(letter.group) + (" (held)" if letter.held else " (observer)" if letter.observer else "")),
        Span(f"{when.say(letter.since)} ({say_attempts(letter.attempts)})", "dim"),
        Span(clean(say_error(letter))),
    )


def dead_letter_lines(letter: DeadView, when: When, *, flags: str = "") -> Iterator[Line]:
    """One dead letter with all that is known of it, and what can be done."""
    yield (
        Span(clean(letter.case or letter.id), "strong"),
        Span("  "),
        Span(clean(say_dead(letter)), "bad"),
        Span(f" since {when.say(letter.since)} ({when.away(letter.since)}), after {say_attempts(letter.attempts)}"),
    )
    pairs = [("id", letter.id), ("error", say_error(letter)), ("command", letter.command or "")]
    yield from columns([(Span(name, "dim"), Span(clean(said))) for name, said in pairs if said], indent=2)
    if letter.trace:
        yield ()
        trace = clean(letter.trace.expandtabs(4).rstrip(), keep_lines=True)
        yield from ((Span(f"  {line}", "dim"),) for line in trace.split("\n"))
    yield ()
    yield (Span(f"  {_body(letter)}"),)
    yield ()
    name = shlex.quote(clean(letter.id))
    mends = ["discard"] if letter.group == QUARANTINE else ["redrive", "discard"]
    yield from ((Span(f"  {as_typed(f'partita dead {mend} {name}{flags}')}", "dim"),) for mend in mends)


def _body(letter: DeadView) -> str:
    if bytes(letter.body) not in {b"", b"null"}:
        return clean(bytes(letter.body).decode(errors="replace"))
    return clean(base64.b64decode(letter.raw).decode(errors="replace"))


# Groups.


def group_lines(groups: Sequence[GroupLine], when: When) -> Iterator[Line]:
    """Every group, what it owes, and who stopped it."""
    if not groups:
        yield (Span("no groups: no app has run on this store"),)
        return
    heads: Line = tuple(Span(name, "dim") for name in ("group", "state", "owing", "dead", "handles"))
    yield from columns([heads, *(_group_row(group, when) for group in groups)])


def _group_row(group: GroupLine, when: When) -> Line:
    stopped = f" since {when.say(group.since)}{f' by {clean(group.by)}' if group.by else ''}" if group.since else ""
    state = f"{group.state}{', paused' if group.paused and group.state != 'paused' else ''}{stopped}"
    queued = f"; {group.queued} is asked of the next engine" if group.queued else ""
    return (
        Span(clean(group.name), "strong"),
        Span(f"{state}{queued}", "good" if group.state == "live" and not queued else "waiting"),
        Span(str(group.owing)),
        Span(str(group.dead), "bad" if group.dead else ""),
        Span(clean(", ".join(group.handles)), "dim"),
    )


# What came of a request.


def reply_lines(request: Request, reply: Reply) -> Iterator[Line]:
    """What was done, or will be by the next engine, for a person."""
    said = clean(f"{'queued: ' if reply.queued else ''}{_said(request, reply)}")
    yield (Span(said, "strong"),)
    if reply.note not in {"", request.group}:
        yield (Span(f"  {clean(reply.note)}"),)
    if has_answer(reply):
        yield (Span(f"  {clean(bytes(reply.answer).decode(errors='replace'))}"),)


def has_answer(reply: Reply) -> bool:
    """Whether a reply carries an answer that says something."""
    return bytes(reply.answer) not in {b"", b"null"}


def _said(request: Request, reply: Reply) -> str:
    queued = reply.queued
    case = reply.case or request.case
    match request.op:
        case "emit":
            return f"{'publish' if queued else 'published'} {request.type} for {case}"
        case "call":
            if reply.answer_type:
                return f"{request.type} for {case} was answered with {reply.answer_type}"
            return f"{'send' if queued else 'handled'} {request.type} for {case}"
        case "start":
            return f"start {request.workflow} for {case}" if queued else f"started {reply.run}"
        case _:
            act, done = _ACTS.get(request.op, (request.op, request.op))
            named = request.group if request.op in {"pause", "resume", "retire"} else case or request.message
            count = f", {reply.count} in all" if reply.count > 1 else ""
            return f"{act if queued else done} {named}{count}"


_ACTS: dict[str, tuple[str, str]] = {
    "retry": ("retry", "retried"),
    "cancel": ("cancel", "asked to cancel"),
    "redrive": ("redrive", "redrove"),
    "discard": ("discard", "discarded"),
    "pause": ("pause group", "paused group"),
    "resume": ("resume group", "resumed group"),
    "retire": ("retire group", "retired group"),
}
