"""Draw what `headrace demo` prints in a terminal: `python -m benchmarks.record_demo docs/demo.svg`."""

import io
import os
import pty
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

WIDTH = 100

#: Cursor movements of the live display: everything before the last of them is a frame that was painted over.
_REPAINT = re.compile(r"\x1b\[(?:\d*[ABCDEFGJK]|2K|\?25[lh])")


#: The picture uses whatever monospaced font the reader has, and asks no other server for one.
_WEB_FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def run_demo() -> str:
    """Return the terminal output, the last frame of each live display only."""
    pieces: list[bytes] = []

    def read(descriptor: int) -> bytes:
        pieces.append(os.read(descriptor, 65536))
        return pieces[-1]

    os.environ.update(COLUMNS=str(WIDTH), LINES="60", TERM="xterm-256color")
    status = pty.spawn([sys.executable, "-m", "adapters.cli.main", "demo"], read)
    if status:
        raise SystemExit(f"the demo failed with status {status}")
    return b"".join(pieces).decode()


def final_frames(output: str) -> str:
    """Apply carriage returns and cursor movements line by line."""
    lines: list[str] = []
    row = 0
    for line in output.replace("\r\n", "\n").split("\n"):
        row -= sum(int(count or 1) for count in re.findall(r"\x1b\[(\d*)A", line))
        row = max(row, 0)
        visible = _REPAINT.sub("", line).split("\r")[-1]
        lines[row:] = [visible]
        row += 1
    return "\n".join(lines)


def main() -> None:
    """Run the demo and write the picture."""
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    console.print(Text("$ make demo", style="bold"))
    console.print(Text.from_ansi(final_frames(run_demo())))
    picture = console.export_svg(title="headrace", unique_id="demo")
    Path(sys.argv[1]).write_text(_WEB_FONT.sub("", picture), encoding="utf-8")


if __name__ == "__main__":
    main()
