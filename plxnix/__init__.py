"""One graph, two builders, one hash."""
