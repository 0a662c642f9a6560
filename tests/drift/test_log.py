"""Logs are records of fapm score, or refused with the line that is none."""

from __future__ import annotations

import json

import pytest

from fapm_cli.drift.log import read_log
from fapm_cli.errors import OptionError

RECORD = {"path": "a.png", "score": 1.0, "p_value": 0.5, "measures": {"brightness": 9.0, "x": 0}}


def test_records_come_back_in_order_without_empty_lines() -> None:
    records = [RECORD, {"path": "b", "error": "no picture"}, {"path": "c", "score": 2}]
    lines = [f"{json.dumps(record)}\n" for record in records]
    assert list(read_log([lines[0], "\n", *lines[1:]], "log")) == records


def test_a_last_line_that_is_being_written_is_left_out() -> None:
    line = json.dumps(RECORD)
    assert list(read_log([f"{line}\n", line[:20]], "log")) == [RECORD]
    assert list(read_log([f"{line}\n", line], "log")) == [RECORD, RECORD]


@pytest.mark.parametrize(
    "line",
    [
        "no json",
        "[1]",
        "{}",
        '"path"',
        '{"path": 3, "score": 1}',
        '{"path": "a"}',
        '{"path": "a", "score": "1"}',
        '{"path": "a", "score": true}',
        '{"path": "a", "score": NaN}',
        '{"path": "a", "score": 1, "p_value": null}',
        '{"path": "a", "score": 1, "measures": 3}',
        '{"path": "a", "score": 1, "measures": {"brightness": "bright"}}',
        '{"path": "a", "score": 1, "measures": {"x": Infinity}}',
        "[" * 5000,
    ],
)
@pytest.mark.parametrize("before", [0, 2])
def test_a_line_that_is_no_record_is_refused_by_its_number(line: str, before: int) -> None:
    lines = [f"{json.dumps(RECORD)}\n"] * before + [f"{line}\n"]
    with pytest.raises(OptionError, match=rf"log a\.jsonl, line {before + 1} is no record"):
        list(read_log(lines, "a.jsonl"))
