# A file from the net, known by its hash: at the path at which plxnix's `fetchurl` has it, so that
# what one of them has fetched, the other finds.
#
#   fetch { url = "https://example.org/data.csv"; hash = "sha256-..."; }
#
# With `hash` (the SRI form) it is also the same derivation.
{
  url,
  # The file's name; by default the last part of the URL, made legal as plxnix does it.
  name ? null,
  # One of them; all but `hash` in hex, base 32 or base 64.
  hash ? null,
  sha256 ? null,
  sha512 ? null,
  sha1 ? null,
}:

let
  inherit (builtins)
    concatStringsSep
    filter
    genList
    head
    isString
    match
    replaceStrings
    split
    stringLength
    substring
    ;

  fail = message: throw "plxnix fetch: ${message}";

  # -- the name ----------------------------------------------------------------------------------

  legal = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz+-._?=";
  digits = "0123456789ABCDEF";

  # %20 and the like: for each legal character itself, for any other a `-`. Of a character of
  # several bytes, such as %C3%A9, the first byte becomes the `-` and the others vanish.
  escapes =
    let
      hex = n: substring (n / 16) 1 digits + substring (n - n / 16 * 16) 1 digits;
      ascii = builtins.listToAttrs (
        genList (n: {
          # ASCII from the blank on, without what would need an escape of its own in this list.
          name = hex (n + 32);
          value = substring n 1 printable;
        }) 95
      );
      printable = " !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~";
      upper = genList hex 256;
      value =
        code:
        if ascii ? ${code} then
          (if match "[0-9A-Za-z+._?=-]" ascii.${code} != null then ascii.${code} else "-")
        else if match "[89AB]." code != null then
          ""
        else
          "-";
      lower = replaceStrings [ "A" "B" "C" "D" "E" "F" ] [ "a" "b" "c" "d" "e" "f" ];
      mixed = code: [
        code
        (lower code)
        (lower (substring 0 1 code) + substring 1 1 code)
        (substring 0 1 code + lower (substring 1 1 code))
      ];
      codes = builtins.concatMap mixed upper;
    in
    {
      from = map (code: "%" + code) codes;
      to = builtins.concatMap (code: map (_: value code) (mixed code)) upper;
    };

  baseName =
    let
      # scheme://authority/path?query#fragment
      parts = match "[^:/?#]+://[^/?#]*(/([^?#]*))?([?#].*)?" url;
      path = builtins.elemAt parts 1;
      words = filter isString (split "/" path);
      last = builtins.elemAt words (builtins.length words - 1);
    in
    if match "[!-~]+" url == null then
      fail "give a name: the URL has characters that need an escape: ${url}"
    else if parts == null || path == null || last == "" then
      fail "give a name: the URL ends in none: ${url}"
    else
      last;

  sanitised =
    let
      decoded = replaceStrings escapes.from escapes.to baseName;
      plain = concatStringsSep "" (
        map (piece: if isString piece then piece else "-") (split "[^0-9A-Za-z+._?=-]" decoded)
      );
      short = substring 0 207 (head (match "\\.*(.*)" plain));
      length = stringLength short;
      stem = substring 0 (length - 4) short;
    in
    if short == "" then
      "source"
    else if length >= 4 && substring (length - 4) 4 short == ".drv" then
      "${stem}-drv"
    else
      short;

  # -- the hash ----------------------------------------------------------------------------------

  given = filter (one: one.outputHash != null) [
    {
      outputHash = hash;
      outputHashAlgo = "";
    }
    {
      outputHash = sha256;
      outputHashAlgo = "sha256";
    }
    {
      outputHash = sha512;
      outputHashAlgo = "sha512";
    }
    {
      outputHash = sha1;
      outputHashAlgo = "sha1";
    }
  ];
in
if builtins.length given != 1 then
  fail "give one of hash, sha256, sha512 and sha1 for ${url}"
else if substring 0 9 url == "mirror://" then
  fail "only plxnix and nixpkgs know mirrors: give the full URL instead of ${url}"
else
  import <nix/fetchurl.nix> (
    head given
    // {
      inherit url;
      name = if name == null then sanitised else name;
    }
  )
