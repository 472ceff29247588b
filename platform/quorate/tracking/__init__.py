"""MLflow's tree of runs, from a local journal that never blocks training."""
