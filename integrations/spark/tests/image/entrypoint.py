"""What Spark's image would start with: the machine's own Java and the installed pyspark take its place in tests.

Spark on Kubernetes gives a container the word ``driver`` or ``executor`` and says the rest in the environment
(SPARK_DRIVER_URL, SPARK_EXECUTOR_ID and others, Spark's documents, Running on Kubernetes).
"""

import importlib.util
import os
import sys
from pathlib import Path

MAIN = "org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend"
EXECUTOR = {
    "--driver-url": "SPARK_DRIVER_URL",
    "--executor-id": "SPARK_EXECUTOR_ID",
    "--cores": "SPARK_EXECUTOR_CORES",
    "--app-id": "SPARK_APPLICATION_ID",
    "--hostname": "SPARK_EXECUTOR_POD_IP",
    "--resourceProfileId": "SPARK_RESOURCE_PROFILE_ID",
    "--podName": "SPARK_EXECUTOR_POD_NAME",
}


def spark_home() -> Path:
    found = importlib.util.find_spec("pyspark")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent


def command(role: str, words: list[str], home: Path) -> list[str]:
    if role == "driver":
        bind = f"spark.driver.bindAddress={os.environ['SPARK_DRIVER_BIND_ADDRESS']}"
        return [str(home / "bin" / "spark-submit"), "--conf", bind, "--deploy-mode", "client", *words]
    java_options = [value for name, value in sorted(os.environ.items()) if name.startswith("SPARK_JAVA_OPT_")]
    memory = os.environ["SPARK_EXECUTOR_MEMORY"]
    jars = f"{home / 'jars'}/*"
    said = [word for option, variable in EXECUTOR.items() for word in (option, os.environ[variable])]
    java = f"{os.environ['JAVA_HOME']}/bin/java"
    return [java, *java_options, f"-Xms{memory}", f"-Xmx{memory}", "-cp", jars, MAIN, *said]


if __name__ == "__main__":
    where = spark_home()
    os.environ["SPARK_HOME"] = str(where)
    os.environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"))
    words = command(sys.argv[1], sys.argv[2:], where)
    os.execvp(words[0], words)
