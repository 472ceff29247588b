"""Sessions on Ray: workers on the nodes of a cluster that may grow, shrink and lose nodes."""
