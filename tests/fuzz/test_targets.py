"""Every door under random bytes, for seconds; and each harness is shown to find a bug that is planted in its door."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from partita.messages import cloudevents, codec, message
from partita.monitor import fold
from partita.runtime import door
from partita.store.sqlite import trail
from tests.fuzz import targets
from tests.fuzz.seeds import SEEDS
from tests.fuzz.targets import TARGETS, WORDS, run_words

COUNTS = {"command_line": 60, "door": 300}


def bytes_near(seeds: list[bytes]) -> st.SearchStrategy[bytes]:
    """Random bytes, seeds, and seeds with some of their bytes changed, doubled, or left out."""

    @st.composite
    def mutated(draw: st.DrawFn) -> bytes:
        found = bytearray(draw(st.sampled_from(seeds)))
        for _ in range(draw(st.integers(0, 4))):
            at = draw(st.integers(0, max(len(found) - 1, 0)))
            piece = draw(st.sampled_from(seeds) | st.binary(max_size=3))
            found[at : at + draw(st.integers(0, 4))] = piece[: draw(st.integers(0, 12))]
        return bytes(found)

    return mutated() | st.binary(max_size=200)


def search(name: str, *, count: int, phases: tuple[Phase, ...] = tuple(Phase)) -> None:
    """Look for bytes that break a target."""

    @settings(max_examples=count, deadline=None, database=None, phases=phases, suppress_health_check=list(HealthCheck))
    @given(bytes_near(SEEDS[name]))
    def look(data: bytes) -> None:
        TARGETS[name](data)

    for seed in SEEDS[name]:
        TARGETS[name](seed)
    look()


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_breaks_a_door(name: str) -> None:
    search(name, count=COUNTS.get(name, 600))


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(WORDS) | st.text(max_size=8), max_size=7))
def test_any_words_end_with_a_documented_code(words: list[str]) -> None:
    run_words(words)


# Bugs planted on purpose: a harness that can't find one is worth nothing.


def _plant_codec(monkeypatch: pytest.MonkeyPatch) -> None:
    def check_raw(raw: bytes) -> None:
        try:
            json.loads(raw)  # takes NaN, twins, NUL, and any depth below its own
        except ValueError as error:
            raise targets.MessageError("no JSON\nSend some.") from error

    monkeypatch.setattr(codec, "check_raw", check_raw)


def _plant_envelope(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloudevents, "holds_control", lambda _text: False)


def _plant_fact(monkeypatch: pytest.MonkeyPatch) -> None:
    right = trail.decode_body

    def decode_body(kind: str, raw: bytes) -> Any:
        found = right(kind, raw)
        if type(found).__name__ == "Unread":
            raise ValueError("what is this?")
        return found

    monkeypatch.setattr(trail, "decode_body", decode_body)


def _plant_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    right = fold._owed
    monkeypatch.setattr(fold, "_ACTS", {**fold._ACTS, targets.facts.Stepped: lambda *_: right(*[None] * 9)})  # type: ignore[arg-type]


def _plant_case(monkeypatch: pytest.MonkeyPatch) -> None:
    def is_case(text: str) -> bool:
        case_type, _, key = text.partition(":")
        return bool(message._CASE_TYPE.match(case_type) and key)  # `match`, and no look at the key

    monkeypatch.setattr(message, "is_case", is_case)


def _plant_duration(monkeypatch: pytest.MonkeyPatch) -> None:
    from partita import retry

    monkeypatch.setattr(targets, "duration_us", lambda text: sum(
        int(float(number) * retry._UNITS_US[unit]) for number, unit in retry._PART.findall(text)
    ))  # fmt: skip


def _plant_door(monkeypatch: pytest.MonkeyPatch) -> None:
    async def skip_line(reader: Any) -> bool:
        return bool(await reader.read(65_536))  # as it was: it swallows the next request too

    monkeypatch.setattr(door, "_skip_line", skip_line)


def _plant_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from partita.cli import opening

    monkeypatch.setattr(opening, "check_text", lambda what, text: text.encode() and 1 / len(text))


@pytest.mark.parametrize(
    ("name", "plant"),
    [
        ("codec", _plant_codec),
        ("envelope", _plant_envelope),
        ("fact", _plant_fact),
        ("fact", _plant_fold),
        ("case", _plant_case),
        ("duration", _plant_duration),
        ("door", _plant_door),
        ("command_line", _plant_command_line),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_a_planted_bug_is_found(
    name: str, plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)

    with pytest.raises(BaseException):  # noqa: B017, PT011 - whatever the harness meets it by
        search(name, count=1_000, phases=(Phase.generate,))
