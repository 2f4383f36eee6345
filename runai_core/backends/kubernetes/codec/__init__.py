"""Pure functions between objects of the Kubernetes API, as plain dictionaries, and the model."""
