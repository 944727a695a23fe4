"""The machine: which partita this is, and whether a store's file, lock and disk are well."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence

import msgspec
from msgspec.structs import replace

from partita.cli.failures import Exit
from partita.cli.opening import dev_command, no_store
from partita.cli.options import ANSWERING, LOOKING, Answering, Looking
from partita.cli.output import Line, Span, clean, columns, print_json, print_lines
from partita.cli.suggesting import Mends
from partita.runtime.backends import examine
from partita.store.health import Finding


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """What `version --json` says."""

    version: str
    python: str


def version(*, options: Answering = ANSWERING) -> int:
    """Which partita this is, and on which Python."""
    found = Version(version=find_version(), python=platform.python_version())
    if options.json:
        print_json(found)
    else:
        print(f"partita {found.version} (Python {found.python})")
    return Exit.OK


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What `doctor --json` says."""

    well: bool
    version: str
    findings: list[Finding]


def doctor(*, options: Looking = LOOKING) -> int:
    """Look the store over: its file, its format, its lock, its disk, its pages, its trail. Nothing is written."""
    settings = options.settings()
    if not settings.store.is_file():
        raise no_store(settings)
    mends = Mends(looking=options.flags(), acting=options.flags(), dev=dev_command(options))
    findings = [replace(one, remedy=mends.complete_in(one.remedy)) for one in examine(settings.store)]
    well = all(finding.well for finding in findings)
    if options.json:
        print_json(Checked(well=well, version=find_version(), findings=findings))
    else:
        print_lines(doctor_lines(findings))
    return Exit.OK if well else Exit.BAD


def doctor_lines(findings: Sequence[Finding]) -> Iterator[Line]:
    """Whether all is well, then each finding, with what to do where it is not."""
    wrong = [finding for finding in findings if not finding.well]
    yield (Span(f"not well: {', '.join(one.name for one in wrong)}", "bad") if wrong else Span("all is well", "good"),)
    rows: list[Line] = []
    for finding in findings:
        rows.append((Span(finding.name, "dim"), Span(clean(finding.said), "" if finding.well else "bad")))
        if finding.remedy:
            rows.append((Span(""), Span(clean(finding.remedy), "strong")))
    yield from columns(rows, indent=2)


def find_version() -> str:
    """The installed version."""
    from importlib.metadata import version as installed

    return installed("partita")
