"""The plan of a job: its data, its tasks, and everything that decides their bits."""
