"""An architecture, data, a member and a combiner of one's own for Quorate."""
