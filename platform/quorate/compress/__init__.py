"""Makes a finished ensemble smaller: fewer members, one student network, or one average of weights."""
