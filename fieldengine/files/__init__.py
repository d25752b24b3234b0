"""Reading files as people have them: what is used, what is refused, and what the user is told."""
