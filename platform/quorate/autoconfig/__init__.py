"""From a look at the data to a first job file: the fingerprint, the rules, the commented YAML."""
