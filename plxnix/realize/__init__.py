"""Instantiating and realizing stages."""
