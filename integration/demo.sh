#!/bin/sh
# The main job on an embedded repository: demo.sh LARDER DIRECTORY (made anew, and left to be looked at).
set -eu
larder=$(realpath "$1")
rm -rf "$2"
mkdir -p "$2"
demo=$(realpath "$2")
source=$(dirname "$0")/../src

# Nothing of the user's own configuration is touched.
export KOPIA_CONFIG_PATH="$demo/repository.config"
export KOPIA_CACHE_DIRECTORY="$demo/cache"
export KOPIA_PASSWORD=demo

run() {
    printf '\n$ larder %s\n' "$*"
    "$larder" "$@"
}

echo "A directory to back up: $demo/data, a copy of larder's own source code."
cp -R "$source" "$demo/data"

run repository create filesystem --path "$demo/repository"
run policy set --global --compression=zstd-fastest
run snapshot create "$demo/data"

echo
echo "A file is lost, another is spoilt, and a new one is written:"
cp "$demo/data/lib.rs" "$demo/lib.rs.original"
rm "$demo/data/lib.rs"
echo 'fn main() {}' >"$demo/data/main.rs"
date >"$demo/data/today.txt"

run snapshot create "$demo/data"
run snapshot list
run snapshot verify --verify-files-percent=100

echo
echo "The lost file comes back from the snapshot before:"
first=$("$larder" snapshot list --json | sed -n 's/.*"id":"\([0-9a-f]*\)".*/\1/p' | head -n 1)
run restore "$first/lib.rs" "$demo/data/lib.rs"
cmp "$demo/lib.rs.original" "$demo/data/lib.rs"
echo "It is the same, byte for byte. All of this is in $demo."
