"""Finished tasks in the store, and the out-of-fold predictions gathered from them."""
