"""All notebooks for all runs: jobs, status, plan, and the second study."""
