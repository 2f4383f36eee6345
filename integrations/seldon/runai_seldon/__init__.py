"""Seldon, KServe and Knative services as runai-core workloads."""

from runai_seldon.schedule import NotScheduled, schedule

__all__ = ["NotScheduled", "schedule"]
