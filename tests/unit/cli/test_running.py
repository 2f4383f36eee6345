"""The log of an orchestrator that `up` began: it ends somewhere, and is read by its owner only."""

import logging
import subprocess
import sys
from pathlib import Path

from runai_core.cli.running import KeptLog

WRITES = """
import logging, sys
from pathlib import Path
from runai_core.cli.running import KeptLog, is_standard_error
log = Path(sys.argv[1])
assert is_standard_error(log)
logging.basicConfig(handlers=[KeptLog(log, 2000)])
for number in range(100):
    logging.warning("line %s of some length, so that there are several files", number)
print("the last words", file=sys.stderr)
"""


def test_a_log_has_two_files_of_limited_size_whose_owner_alone_reads_them(tmp_path: Path) -> None:
    handler = KeptLog(tmp_path / "log", 2000)
    for number in range(200):
        handler.emit(logging.makeLogRecord({"msg": f"line {number} of a log that goes on and on"}))
    handler.close()

    kept = sorted(tmp_path.iterdir())
    assert [path.name for path in kept] == ["log", "log.1"]
    assert all(path.stat().st_size <= 2000 and path.stat().st_mode & 0o777 == 0o600 for path in kept)
    assert "line 199 " in kept[0].read_text()


def test_standard_error_stays_in_the_file_that_is_written(tmp_path: Path) -> None:
    with (tmp_path / "log").open("a") as log:
        subprocess.run([sys.executable, "-c", WRITES, str(tmp_path / "log")], stderr=log, timeout=60, check=True)

    assert (tmp_path / "log").read_text().endswith("the last words\n")
    assert (tmp_path / "log.1").exists()
