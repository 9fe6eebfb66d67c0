"""Nix's formats, pure: hashes, store paths, NAR, ATerm, derivations, Nix text."""
