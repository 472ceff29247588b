"""Present results to people: the leaderboard, live progress, plots and reports."""
