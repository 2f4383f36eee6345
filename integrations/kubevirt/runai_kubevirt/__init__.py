"""KubeVirt virtual machines as runai-core workloads."""
