"""The committed figures of decoding: what they say, and that the table is made of them."""

from __future__ import annotations

import json
import sys

import pytest
from package_files import ROOT

RESULTS = ROOT / "benchmarks" / "results"


@pytest.fixture
def found():
    return json.loads((RESULTS / "decoding.json").read_text(encoding="utf-8"))


def test_the_cache_changes_no_token_and_compiles_once(found):
    for one in found["measured"]:
        assert one["same_tokens"] == 1.0
    programs = found["programs"]
    assert programs["all_calls"] == programs["first_call"]


def test_the_table_is_made_of_them(found, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    from benchmarks.decoding import to_markdown

    assert (RESULTS / "decoding.md").read_text(encoding="utf-8") == to_markdown(found)
