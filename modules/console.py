"""What is printed is text that strangers wrote: file names, questions, tasks, answers."""

from __future__ import annotations

import os
from typing import Any

from rich.console import Console
from rich.text import Text

_COMMANDS = {code: "\ufffd" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}


class PlainConsole(Console):
    """Prints text as it is: nothing in it is markup, the name of an emoji, or a command to the terminal.

    Args:
        at_least: characters of its width, whatever the terminal says, so that tables keep their words whole.
        soft_wrap: leave long lines to the terminal.
        stderr: print where errors go.
    """

    def __init__(self, at_least: int = 100, soft_wrap: bool = False, stderr: bool = False) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, soft_wrap=soft_wrap, stderr=stderr)
        self.width = max(at_least, self.width)

    def on_broken_pipe(self) -> None:
        """Prints into nothing from now on: the Ctrl-C that has ended `tee` is not to keep the run from saving."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())

    def render_str(self, text: str, **arguments: Any) -> Text:
        said = text.translate(_COMMANDS).encode(errors="replace").decode()  # half a surrogate pair cannot be written
        return super().render_str(said, **arguments)


def console_for(num_systems: int) -> PlainConsole:
    """A console on which a table of so many systems keeps its words whole, whatever the terminal says it is."""
    return PlainConsole(at_least=max(100, 40 + 23 * num_systems))
