"""Where Spark is. Standard library only."""

import importlib.util
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from runai_core.model.errors import Unavailable

MISSING_JAVA = "Java is not installed, and Spark needs it (17 or newer): apt-get install openjdk-17-jre-headless"
MISSING_SPARK = "Spark is not installed: pip install 'runai-spark[pyspark]', or set SPARK_HOME"


def find_spark(environ: Mapping[str, str]) -> Path:
    """Return Spark's home: SPARK_HOME, or that of the installed pyspark.

    Raises:
        Unavailable: there is none, or no Java.
    """
    found = environ.get("SPARK_HOME")
    if not found:
        spec = importlib.util.find_spec("pyspark")
        if spec is None or spec.origin is None:
            raise Unavailable(MISSING_SPARK)
        found = str(Path(spec.origin).parent)
    home = Path(found)
    if not (home / "bin" / "spark-submit").is_file():
        raise Unavailable(f"{home} has no bin/spark-submit: {MISSING_SPARK}")
    if not environ.get("JAVA_HOME") and shutil.which("java", path=environ.get("PATH", os.defpath)) is None:
        raise Unavailable(MISSING_JAVA)
    return home
