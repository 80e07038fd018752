"""Diagnose a production machine: from the symptom to the cause, with evidence."""

__version__ = "0.1.0"
