"""Many runs of one scene: a plan, worker processes, a table."""
