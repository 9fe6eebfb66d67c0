"""Instantiating and realizing stages: registries, matchers, the build context, the realizer."""
