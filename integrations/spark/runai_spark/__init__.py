"""Spark applications as runai-core workloads."""
