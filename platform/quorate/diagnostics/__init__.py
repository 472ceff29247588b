"""Questions to a job's members and runs that train no ensemble: rates, memory, what to do next."""
