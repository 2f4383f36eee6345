"""What Airflow is told of this provider."""

from typing import Any

NAME = "Run:ai core"


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata; called by Airflow through the entry point `apache_airflow_provider`."""
    return {
        "package-name": "runai-airflow",
        "name": NAME,
        "description": "Run tasks as workloads of runai-core: gang scheduling, fair sharing, one lifecycle.",
        "integrations": [
            {
                "integration-name": NAME,
                "tags": ["software"],
            }
        ],
        "hooks": [{"integration-name": NAME, "python-modules": ["runai_airflow.hooks"]}],
        "operators": [{"integration-name": NAME, "python-modules": ["runai_airflow.operators", "runai_airflow.gangs"]}],
        "sensors": [{"integration-name": NAME, "python-modules": ["runai_airflow.sensors"]}],
        "triggers": [{"integration-name": NAME, "python-modules": ["runai_airflow.triggers"]}],
        "connection-types": [
            {
                "connection-type": "runai",
                "hook-class-name": "runai_airflow.hooks.RunaiHook",
                "hook-name": NAME,
                "ui-field-behaviour": {
                    "relabeling": {
                        "host": "URL",
                        "schema": "Scheme (http or https)",
                        "login": "Client id (empty: the password is a token)",
                        "password": "Token, or secret of the client",
                    },
                    "placeholders": {"host": "https://runai.example.org", "extra": '{"project": "team-a"}'},
                },
            }
        ],
        "extra-links": ["runai_airflow.links.RunaiWorkloadLink"],
        "task-decorators": [{"name": "runai", "class-name": "runai_airflow.decorators.runai_task"}],
        "config": {"runai": {"description": "Pods that other operators and executors make.", "options": OPTIONS}},
    }


OPTIONS: dict[str, dict[str, Any]] = {
    "schedule_pods": {
        "description": "Put the pods of KubernetesPodOperator and KubernetesExecutor under our scheduler.",
        "version_added": "0.1.0",
        "type": "boolean",
        "example": "True",
        "default": "False",
    },
    "scheduler_name": {
        "description": "Name of the scheduler that these pods ask for.",
        "version_added": "0.1.0",
        "type": "string",
        "example": "runai-scheduler",
        "default": "runai-scheduler",
    },
    "project": {
        "description": "Project of pods that name none by the label `project`; empty: the namespace says it.",
        "version_added": "0.1.0",
        "type": "string",
        "example": "team-a",
        "default": "",
    },
}
