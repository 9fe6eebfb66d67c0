set -eu
export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null GIT_ATTR_NOSYSTEM=1 LC_ALL=C
export GIT_TERMINAL_PROMPT=0 GIT_SSH_COMMAND="ssh -oBatchMode=yes" GIT_ALLOW_PROTOCOL="$protocols"
count=0
setting() {
  export "GIT_CONFIG_KEY_$count=$1" "GIT_CONFIG_VALUE_$count=$2"
  count=$((count + 1))
  export GIT_CONFIG_COUNT="$count"
}
setting core.hooksPath /dev/null
setting core.attributesFile /dev/null
setting core.autocrlf false
setting core.eol lf
setting core.symlinks true
setting core.fileMode true
setting advice.detachedHead false
setting gc.auto 0
if [ -n "${stall:-}" ]; then
  setting http.lowSpeedLimit 1
  setting http.lowSpeedTime "$stall"
fi
if [ -n "$lfs" ]; then
  git lfs version
  setting filter.lfs.process "git-lfs filter-process"
  setting filter.lfs.smudge "git-lfs smudge -- %f"
  setting filter.lfs.clean "git-lfs clean -- %f"
  setting filter.lfs.required true
fi
IFS=:
for folder in $PATH; do
  if [ -z "${GIT_SSL_CAINFO:-}" ] && [ -e "${folder%/bin}/etc/ssl/certs/ca-bundle.crt" ]; then
    export GIT_SSL_CAINFO="${folder%/bin}/etc/ssl/certs/ca-bundle.crt"
  fi
done
unset IFS

mkdir tree
cd tree
git init -q --template=
git remote add origin "$url"
found=
for one in $wanted; do
  if git fetch -q --no-tags --depth=1 origin "+$one:refs/wanted" 2>/dev/null; then
    found=refs/wanted
    break
  fi
done
if [ -z "$found" ]; then
  git fetch -q --no-tags origin "+refs/heads/*:refs/all/heads/*" "+refs/tags/*:refs/all/tags/*"
  for one in $wanted "$rev"; do
    case "$one" in refs/*) one="refs/all/${one#refs/}" ;; esac
    if git rev-parse -q --verify "$one^{commit}" >/dev/null; then
      found="$one"
      break
    fi
  done
fi
if [ -z "$found" ]; then
  printf 'fatal: the repository has no commit, tag or branch %s\n' "$rev" >&2
  exit 3
fi
git checkout -q --detach "$found^{commit}"
if [ -n "$submodules" ]; then
  git submodule --quiet update --init --recursive
fi
find . -name .git -prune -exec rm -rf {} +
cd ..
mv tree "$out"
:
