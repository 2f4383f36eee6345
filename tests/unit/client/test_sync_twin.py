"""The synchronous client is generated from the asynchronous one, so that the two cannot differ.

``python tests/unit/client/test_sync_twin.py`` writes it anew.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CLIENT = Path(__file__).parents[3] / "runai_core" / "client"
FILES = ("client", "organization", "pages", "transport", "execution", "sockets", "dialing", "owned", "following")
HEAD = '"""Generated from runai_core/client/{name}.py by tests/unit/client/test_sync_twin.py: change that file instead.'

WORDS = (
    (rf"runai_core\.client\.({'|'.join(FILES)})\b", r"runai_core.client.sync.\1"),
    (r"runai_core\.client\.embedded\b", "runai_core.client.portal"),
    (r"\bAbstractAsync", "Abstract"),
    (r"\bAsync(?=[A-Z])", ""),
    (r"\basynccontextmanager\b", "contextmanager"),
    (r"\basync (def|with|for)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\b__a(enter|exit)__\b", r"__\1__"),
    (r"\ba(close|iter_bytes|read)\b", r"\1"),
    (r"\bimport asyncio\b", "import time"),
    (r"\basyncio\.sleep\b", "time.sleep"),
    (r"\bwebsockets\.asyncio\b", "websockets.sync"),
    (r"\basynchronous\b", "synchronous"),
)


def twin_of(name: str) -> str:
    """Return the synchronous form of a module of the client."""
    text = (CLIENT / f"{name}.py").read_text()
    for pattern, replacement in WORDS:
        text = re.sub(pattern, replacement, text)
    text = re.sub(r'^""".*?(\n\n|""")', lambda found: HEAD.format(name=name) + found[1], text, count=1, flags=re.DOTALL)
    # A loop that only yields, and a list of a generator, are what `async for` leaves behind.
    text = re.sub(r'(?s)\A(""".*?""")\n', r"\1\n\n# ruff: noqa: C416, RUF100, UP028\n", text, count=1)
    return formatted(text)


def formatted(text: str) -> str:
    """Return the text as ruff writes it, with its imports in order."""
    ruff = shutil.which("ruff", path=str(Path(sys.executable).parent)) or "ruff"
    for arguments in (["check", "--select", "I", "--fix", "--quiet"], ["format", "--quiet"]):
        command = [ruff, *arguments, "--stdin-filename", str(CLIENT / "sync" / "x.py"), "-"]
        text = subprocess.run(command, input=text, capture_output=True, text=True, check=False).stdout
    return text


@pytest.mark.parametrize("name", FILES)
def test_the_synchronous_twin_is_up_to_date(name: str) -> None:
    assert (CLIENT / "sync" / f"{name}.py").read_text() == twin_of(name), f"run python {__file__}"


if __name__ == "__main__":
    for file in FILES:
        (CLIENT / "sync" / f"{file}.py").write_text(twin_of(file))
