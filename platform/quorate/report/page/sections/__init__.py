"""The parts of the page, in its order: each makes figures, charts and remarks of a run, and a template lays them out."""
