"""Jobs on real Ray hosts that seeded faults disturb; each must end with the bits of the undisturbed job."""
