"""What people look at: the leaderboard, live progress, plots."""
