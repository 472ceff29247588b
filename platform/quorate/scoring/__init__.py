"""Files, with or without labels, to scores and figures, without a service."""
