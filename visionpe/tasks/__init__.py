"""Tasks: thin Lightning modules over the package's models, and the callbacks they share."""
