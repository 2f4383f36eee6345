"""Ray clusters and jobs as gangs of runai-core."""
