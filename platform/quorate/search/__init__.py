"""Search the hyperparameters of a member: suggest values, train trials in a job's session, and choose among them."""
