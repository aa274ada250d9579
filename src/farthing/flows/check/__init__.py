"""What of a project runs, and what it needs."""
