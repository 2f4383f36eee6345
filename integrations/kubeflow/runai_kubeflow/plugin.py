"""Hooks of this integration."""
