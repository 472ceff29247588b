"""The sections of the page. Each section computes values, charts and remarks of a run for its template."""
