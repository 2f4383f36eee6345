"""Submit and await runai-core workloads from Airflow."""
