"""Kubernetes objects to the model and back: pure functions over plain dictionaries."""
