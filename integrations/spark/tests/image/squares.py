"""An application: every executor works, and says on which host and with which GPUs."""

# ruff: noqa: T201, TID253 - a program of Spark's

import os
import socket
import sys
import time

from pyspark import TaskContext
from pyspark.sql import SparkSession


def where(_: int) -> tuple[str, str]:
    time.sleep(0.5)  # no executor is quick enough to do the work of another
    context = TaskContext.get()
    found = context.resources().get("gpu") if context else None
    return socket.gethostname(), ",".join(found.addresses) if found else ""


spark = SparkSession.builder.getOrCreate()
rdd = spark.sparkContext.parallelize(range(int(sys.argv[1])), int(sys.argv[1]))
hosts = sorted(set(rdd.map(where).collect()))
total = spark.range(100).selectExpr("sum(id * id)").collect()[0][0]
print("sum of squares:", total)
print("executors:", " ".join(f"{name}={gpus}" for name, gpus in hosts))
print("driver's GPUs:", os.environ.get("NVIDIA_VISIBLE_DEVICES", "none"))
spark.stop()
