"""Make a finished ensemble smaller: prune members, distil a student network, or average weights."""
