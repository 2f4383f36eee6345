"""Seldon, KServe and Knative services as runai-core workloads."""
