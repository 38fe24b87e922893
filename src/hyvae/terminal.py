"""Text for terminals: nothing in it that a terminal would obey, and nothing that its encoding cannot hold."""

from __future__ import annotations

import codecs
import re
import sys
from typing import Any, Literal

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook, RenderResult
from rich.segment import Segment

# control characters but for the line feed, marks that turn the direction of writing, line and paragraph separators,
# the byte order mark, halves of characters
_UNSAFE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
# what is written where an encoding has not the character
_PLAIN = {
    **dict.fromkeys("‐‑–—−", "-"),
    **dict.fromkeys("‘’", "'"),
    **dict.fromkeys("“”„", '"'),
    **{"…": "...", "×": "x", "±": "+/-", "·": "*", "•": "*", "→": "->", "≤": "<=", "≥": ">=", "μ": "mu", "σ": "sigma"},
}


#: name of the way to encode that writes plainer characters, where an encoding has not the right ones
PLAINER = "hyvae.plainer"


def visible(text: str) -> str:
    r"""The text with an escape, such as ``\x1b``, for each character that a terminal would obey."""
    return _UNSAFE.sub(lambda found: _escape(found[0]), text)


def one_line(text: str) -> str:
    """`visible`, with line feeds escaped too."""
    return visible(text).replace("\n", "\\n")


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def json_escaped(text: str) -> str:
    """JSON text with an escape of JSON for each such character: to a program it says the same."""
    return _UNSAFE.sub(lambda found: found[0] if found[0] in "\t\r" else f"\\u{ord(found[0]):04x}", text)


def _plainer(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(_PLAIN.get(one, "?") for one in error.object[error.start : error.end]), error.end


codecs.register_error(PLAINER, _plainer)


class Stream:
    """Standard output or error as it is at the moment, which takes any text; closed, it takes it to nowhere.

    Parameters
    ----------
    name : ``stdout`` or ``stderr``
    """

    def __init__(self, name: Literal["stdout", "stderr"]) -> None:
        self.name = name

    @property
    def _target(self) -> Any:
        target = getattr(sys, self.name)
        # while Rich shows a bar, it has put something of its own there
        return getattr(target, "rich_proxied_file", target)

    @property
    def encoding(self) -> str:
        """Of the stream."""
        return getattr(self._target, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        """Write text, with plainer characters where the encoding has not those."""
        target = self._target
        if target is not None:
            target.write(text.encode(self.encoding, PLAINER).decode(self.encoding))
        return len(text)

    def flush(self) -> None:
        """Pass on what is held back."""
        if self._target is not None:
            self._target.flush()

    def isatty(self) -> bool:
        """Whether somebody watches."""
        return self._target is not None and self._target.isatty()

    def fileno(self) -> int:
        """The descriptor.

        Raises
        ------
        OSError
            There is none.
        """
        if self._target is None:
            raise OSError(f"{self.name} is closed")
        return self._target.fileno()


class _Shown:
    """What is to be printed, with escapes in the texts that come of it, whoever wrote them."""

    def __init__(self, inner: ConsoleRenderable) -> None:
        self.inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for text, style, control in console.render(self.inner, options):
            yield Segment(text if control else visible(text), style, control)


class _ShowEverything(RenderHook):
    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_Shown(each) for each in renderables]


def console(name: Literal["stdout", "stderr"]) -> Console:
    """A console on which no text of a file can move the cursor, ring a bell or stop a program."""
    made = Console(file=Stream(name))  # type: ignore[arg-type]
    made.push_render_hook(_ShowEverything())
    return made
