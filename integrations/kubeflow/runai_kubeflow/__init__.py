"""Kubeflow training jobs, notebooks and pipelines as runai-core workloads."""
