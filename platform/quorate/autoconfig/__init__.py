"""Inspect data and write a first job file: the fingerprint, the rules, the commented YAML."""
