"""The sections of the page. Each computes values, charts and remarks of a run for its template."""
