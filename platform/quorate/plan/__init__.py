"""The plan of a job: its data, its tasks, and everything that determines their exact results."""
