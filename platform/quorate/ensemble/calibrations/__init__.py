"""The kinds of calibration; each module registers one."""
