"""One control plane for many clusters: the link between them, from both ends, and the tenants."""
