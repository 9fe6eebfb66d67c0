"""Builders: a derivation value goes in, output trees come out."""
