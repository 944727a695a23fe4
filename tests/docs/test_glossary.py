"""The glossary knows every kind of fact that the trail can hold."""

import re
from pathlib import Path

from partita.store.facts import KINDS

GLOSSARY = Path(__file__).parents[2] / "docs" / "glossary.md"


def test_the_glossary_explains_every_kind_of_fact_and_no_other() -> None:
    section = GLOSSARY.read_text().partition("## Kinds of fact\n")[2]

    assert set(re.findall(r"^\| `([a-z ]+)` \|", section, re.MULTILINE)) == set(KINDS)
