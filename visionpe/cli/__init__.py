"""The command line: a dispatcher that answers at once, and Lightning behind four of its verbs."""
