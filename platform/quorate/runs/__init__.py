"""Run folders: create, find, list, compare and reopen them."""
