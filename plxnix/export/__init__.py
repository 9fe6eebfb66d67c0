"""Writing a closure as Nix."""
