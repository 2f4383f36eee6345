"""Run MLflow projects as runai-core workloads and tie runs to them."""
