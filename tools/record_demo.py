"""Run the demo and draw what it printed: docs/demo.svg, the picture in the README.

make demo-picture
"""

import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parent.parent
WIDTH = 118


def main() -> int:
    """Return the demo's exit status; the picture is only drawn when it is 0."""
    environment = os.environ | {"FORCE_COLOR": "1", "COLUMNS": str(WIDTH), "TERM": "xterm-256color"}
    with tempfile.TemporaryFile("w+") as screen:
        command = [sys.executable, str(ROOT / "examples" / "demo.py"), "--plain"]
        done = subprocess.run(command, check=False, stdout=screen, env=environment)
        screen.seek(0)
        text = screen.read()
    sys.stdout.write(text)
    if done.returncode == 0:
        console = Console(record=True, width=WIDTH, file=io.StringIO())
        console.print(Text.from_ansi(text))
        drawn = console.export_svg(title="make demo")
        # The reader's own monospaced font will do: a picture in a README should ask no other site for one.
        (ROOT / "docs" / "demo.svg").write_text(re.sub(r"@font-face \{.*?\}", "", drawn, flags=re.DOTALL))
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
