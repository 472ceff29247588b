"""The parts of the page: each makes figures, charts and remarks of a run, and a template lays them out."""
