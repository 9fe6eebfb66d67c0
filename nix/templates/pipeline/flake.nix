{
  description = "A pipeline of stages, built by plxnix and by Nix";

  # Where your plxnix is: a path, a git URL, or what `nix registry add plxnix ...` has named.
  inputs.plxnix.url = "flake:plxnix";
  inputs.nixpkgs.follows = "plxnix/nixpkgs";

  outputs =
    {
      self,
      nixpkgs,
      plxnix,
    }:
    let
      systems = [ "x86_64-linux" ];
      forEachSystem =
        function: nixpkgs.lib.genAttrs systems (system: function nixpkgs.legacyPackages.${system});
      # The graph: `plxnix export pipeline.py --format lock -o plxnix.lock.json` writes it.
      graph =
        pkgs:
        plxnix.lib.fromLock {
          lock = ./plxnix.lock.json;
          inherit pkgs;
        };
    in
    {
      packages = forEachSystem (pkgs: {
        default = (graph pkgs).default;
        inherit (graph pkgs) counts frequent;
      });

      devShells = forEachSystem (pkgs: {
        default = plxnix.lib.mkShell {
          lock = ./plxnix.lock.json;
          packages = [ plxnix.packages.${pkgs.stdenv.hostPlatform.system}.default ];
          inherit pkgs;
        };
      });

      checks = forEachSystem (pkgs: {
        inherit (graph pkgs) frequent;
      });
    };
}
