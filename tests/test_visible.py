"""What reaches a terminal: nothing that it would obey, nothing that its encoding cannot hold."""

import io
import json
import sys

import pytest
from rich.table import Table
from rich.text import Text

from hyvae.terminal import Stream, console, json_escaped, one_line, visible

SHOWN = {
    "plain": "Amélie – 天空の城 🎬\nnext line",
    "brackets": "[bold]not markup[/bold]",
    "joined": "👩‍🚀 می‌خواهم",
}
UNSAFE = {
    "\x1b[2J": "\\x1b[2J",
    "\x1b]0;owned\x07": "\\x1b]0;owned\\x07",
    "\x9b31m": "\\x9b31m",
    "a\rb": "a\\x0db",
    "a\tb\x08": "a\\x09b\\x08",
    "\u202egpj.exe": "\\u202egpj.exe",
    "\u2066x\u2069": "\\u2066x\\u2069",
    "\ufeffid": "\\ufeffid",
    "half \ud800": "half \\ud800",
    "a\u2028b": "a\\u2028b",
    "nul\x00": "nul\\x00",
    "del\x7f": "del\\x7f",
}


@pytest.mark.parametrize("text", SHOWN.values(), ids=SHOWN)
def test_text_stays_text(text):
    assert visible(text) == text
    assert visible(visible(text)) == text


@pytest.mark.parametrize(("text", "shown"), UNSAFE.items())
def test_what_a_terminal_would_obey_is_escaped(text, shown):
    assert visible(text) == shown
    assert visible(shown) == shown
    assert json.loads(json_escaped(json.dumps(text, ensure_ascii=False))) == text


def test_one_line_is_one():
    assert one_line("a\nerror: b\x1b") == "a\\nerror: b\\x1b"


class Terminal(io.TextIOWrapper):
    """Of one encoding; it takes what it can hold."""

    def __init__(self, encoding: str, tty: bool = False) -> None:
        super().__init__(io.BytesIO(), encoding=encoding, write_through=True)
        self.tty = tty

    def isatty(self) -> bool:
        return self.tty

    @property
    def text(self) -> str:
        return self.buffer.getvalue().decode(self.encoding)


@pytest.mark.parametrize("text", UNSAFE)
@pytest.mark.parametrize("tty", [False, True])
def test_nothing_goes_round_the_console(monkeypatch, text, tty):
    screen = Terminal("utf-8", tty)
    monkeypatch.setattr(sys, "stdout", screen)
    out = console("stdout")
    table = Table(title=text)
    table.add_column(text)
    table.add_row(Text(text))
    for printed in (text, Text(text), table):
        out.print(printed, markup=False, highlight=False)
    found = {character for character in screen.text if visible(character) != character}
    # on a terminal Rich itself writes colours, and nothing else
    assert found <= ({"\x1b"} if tty else set())
    assert text not in screen.text


PLAINER = {
    "ascii": "3.5 +/- 0.40 - Am?lie ... <= 5",
    "latin-1": "3.5 ± 0.40 - Amélie ... <= 5",
    "cp1252": "3.5 ± 0.40 – Amélie … <= 5",
    "utf-8": "3.5 ± 0.40 – Amélie … ≤ 5",
}


@pytest.mark.parametrize(("encoding", "shown"), PLAINER.items())
def test_characters_degrade(monkeypatch, encoding, shown):
    screen = Terminal(encoding)
    monkeypatch.setattr(sys, "stdout", screen)
    Stream("stdout").write("3.5 ± 0.40 – Amélie … ≤ 5")
    assert screen.text == shown


def test_a_closed_stream_takes_everything(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    stream = Stream("stderr")
    assert not stream.isatty()
    assert stream.write("gone") == 4
    stream.flush()
    with pytest.raises(OSError, match="stderr is closed"):
        stream.fileno()
    console("stderr").print("gone")
