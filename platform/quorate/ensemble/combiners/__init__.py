"""The kinds of combiner; each module registers one."""
