"""Recipes: realizers that are data, one module a kind of stage."""
