"""The report page of a finished run: one HTML file with its metrics, charts, mistakes and recommendations."""
