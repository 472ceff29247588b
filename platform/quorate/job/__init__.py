"""One job, from its spec to the bundle."""
