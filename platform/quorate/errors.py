"""The base of every error that a user can mend."""


class UserError(ValueError):
    """What is wrong, where, and what to do; commands print it without a traceback and end with code 2."""
