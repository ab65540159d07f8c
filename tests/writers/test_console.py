import io

from mmjax.writers import table
from mmjax.writers.console import number, printable


def test_table_shows_every_cell_at_any_width():
    stream = io.StringIO()
    rows = [
        ["text alone", 0.69011, 1234, float("nan")],
        ["[red]fused[/red] \x1b[31m" + "x" * 100, 0.78, None, "a"],
    ]
    table(rows, ["model", "accuracy", "rows", "note"], "Test", file=stream)
    text = stream.getvalue()
    assert text.startswith("Test")
    assert "\x1b" not in text
    one, two = (line for line in text.splitlines() if "0.690" in line or "0.780" in line)
    assert one.split() == ["text", "alone", "0.690", "1,234", "-"]
    assert "[red]fused[/red] \\x1b[31m" + "x" * 100 in two


def test_numbers_as_cells():
    assert number(12345.6) == "12,346"
    assert number(True) == "True"
    assert number(0.12345) == "0.123"


def test_printable_keeps_writing_and_drops_commands():
    assert printable("日本語 é\tb\n") == "日本語 é\tb\n"
    assert printable("\x1b[0m\u202e\x9b") == "\\x1b[0m\\u202e\\x9b"
