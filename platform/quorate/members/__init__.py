"""The kinds of member, one module each."""
