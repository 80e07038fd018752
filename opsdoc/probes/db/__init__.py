"""Databases: how far replicas are behind and why, and what holds a server."""
