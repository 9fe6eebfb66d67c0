{
  description = "plxnix: Python stages in an immutable store, exported as real Nix derivations";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-25.11";

  # A thin layer: what there is to say is in default.nix, shell.nix and nix/.
  outputs =
    { self, nixpkgs }:
    let
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      forEachSystem =
        function: nixpkgs.lib.genAttrs systems (system: function nixpkgs.legacyPackages.${system});
      plxnixFor = pkgs: import ./default.nix { inherit pkgs; };
    in
    {
      packages = forEachSystem (pkgs: rec {
        default = plxnix;
        plxnix = plxnixFor pkgs;
      });

      apps = forEachSystem (pkgs: rec {
        default = plxnix;
        plxnix = {
          type = "app";
          program = "${plxnixFor pkgs}/bin/plxnix";
          meta.description = "Stages, environments and their stores, on the command line";
        };
      });

      devShells = forEachSystem (pkgs: {
        default = import ./shell.nix { inherit pkgs; };
      });

      checks = forEachSystem (pkgs: {
        # The installed command starts, and knows which version it is.
        version = pkgs.runCommand "plxnix-version" { } ''
          ${plxnixFor pkgs}/bin/plxnix --version | grep -F ${self.lib.version}
          touch $out
        '';

        # The functions of `lib`, whose checks are made as this is evaluated.
        lib = pkgs.runCommand "plxnix-lib" { passed = import ./nix/lib/tests.nix; } ''
          echo "$passed" > $out
        '';
      });

      formatter = forEachSystem (pkgs: pkgs.nixfmt-tree);

      overlays.default = import ./nix/overlay.nix;

      lib = import ./nix/lib;

      templates = rec {
        default = pipeline;
        pipeline = {
          path = ./nix/templates/pipeline;
          description = "A pipeline of stages, built by plxnix and by Nix";
        };
        python = {
          path = ./nix/templates/python;
          description = "A Python program that shares what it fetches with Nix";
        };
      };
    };
}
