"""Kubeflow on runai-core: pipelines whose steps are gangs, and the trainer's client.

`runai_kubeflow.pipelines` needs `kfp` (extra ``pipelines``), `runai_kubeflow.trainer`
the Kubeflow SDK; nothing is imported here, so that every command of ours stays quick.
"""
