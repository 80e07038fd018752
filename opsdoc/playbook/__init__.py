"""Playbooks: steps over the probes, and findings across them; here is the language of their conditions and texts."""
