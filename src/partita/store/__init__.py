"""What is remembered: the trail and the work tables beside it."""
