{
  description = "A Python program that shares what it fetches with Nix";

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
        function:
        nixpkgs.lib.genAttrs systems (
          system: function (nixpkgs.legacyPackages.${system}.extend plxnix.overlays.default)
        );
    in
    {
      # The same file at the same store path as `fetches.py` has it.
      packages = forEachSystem (pkgs: rec {
        default = licence;
        licence = plxnix.lib.fetch {
          url = "https://www.gnu.org/licenses/gpl-3.0.txt";
          sha256 = "3972dc9744f6499f0f9b2dbf76696f2ae7ad8af9b23dde66d6af86c9dfb36986";
        };
      });

      devShells = forEachSystem (pkgs: {
        default = pkgs.mkShell {
          packages = [ (pkgs.python3.withPackages (packages: [ packages.plxnix ])) ];
        };
      });
    };
}
