"""Run MLflow projects as runai-core workloads, serve models as such, and tie runs to them."""

__version__ = "0.1.0"
