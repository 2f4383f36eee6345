"""AI workload orchestrator: gang scheduling, fair sharing and one lifecycle for every job."""

__version__ = "0.1.0"
