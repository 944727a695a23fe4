"""Errands: what the shop's handlers have done by others: the card gateway, the carrier, the mail server.

Each carries the delivery's idempotency key, so that an errand that is run again is not done again. All are run at the
ledger in the folder of the store; a test runs them in memory instead.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from partita.runtime.settings import find_settings
from partita_shop import ledger
from partita_shop.books import Answer, Asked, Books

FOLDER_VARIABLE = "PARTITA_SHOP_DIR"
DEFAULT_FOLDER = Path("partita-demo")
LEDGER_NAME = "ledger.jsonl"

Run = Callable[[Asked], Awaitable[Answer]]


async def charge(case: str | None, pence: int, *, key: str) -> Answer:
    """Charge a card: done, refused (it will not be honoured), or busy."""
    return await _run(Asked(op="charge", key=key, case=case or "", pence=pence))


async def refund(case: str | None, *, key: str) -> Answer:
    """Give back what was charged for a case; 0 pence where nothing was."""
    return await _run(Asked(op="refund", key=key, case=case or ""))


async def pay_back(case: str | None, pence: int, *, key: str) -> Answer:
    """Pay a customer for goods that came back."""
    return await _run(Asked(op="pay back", key=key, case=case or "", pence=pence))


async def ship(case: str | None, *, key: str, attempt: int) -> Answer:
    """Hand a parcel to the carrier: done, refused (no such address), or busy."""
    return await _run(Asked(op="ship", key=key, case=case or "", attempt=attempt))


async def mail(case: str | None, subject: str, *, key: str) -> Answer:
    """Mail a customer: done, or refused (no such mailbox)."""
    return await _run(Asked(op="mail", key=key, case=case or "", subject=subject))


def ledger_path() -> Path:
    """The ledger's file: in the folder that the environment names, or beside the store that partita's commands find."""
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder:
        return Path(folder) / LEDGER_NAME
    settings = find_settings()
    return (DEFAULT_FOLDER if settings.store_source == "default" else settings.store.parent) / LEDGER_NAME


@contextmanager
def in_folder(folder: Path) -> Generator[Path]:
    """Run errands at the ledger in this folder while the block lasts; gives the ledger's file."""
    before = os.environ.get(FOLDER_VARIABLE)
    os.environ[FOLDER_VARIABLE] = str(folder)
    try:
        yield folder / LEDGER_NAME
    finally:
        if before is None:
            del os.environ[FOLDER_VARIABLE]
        else:
            os.environ[FOLDER_VARIABLE] = before


@contextmanager
def in_memory(books: Books | None = None) -> Generator[Books]:
    """Run errands in memory while the block lasts, for tests: no process, no file."""
    global _run  # noqa: PLW0603 - handlers are plain functions: this is the one thing that is put under them
    kept, before = books or Books(), _run

    async def run(asked: Asked) -> Answer:
        answer = kept.take(asked)
        if answer is None:
            raise ConnectionError("the line went dead before the answer came")
        return answer

    _run = run
    try:
        yield kept
    finally:
        _run = before


async def _run_outside(asked: Asked) -> Answer:
    return await ledger.ask(ledger_path(), asked)


_run: Run = _run_outside
