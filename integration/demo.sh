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

first=$("$larder" snapshot list --json "$demo/data" | tr ',' '\n' | sed -n 's/.*"id":"\([0-9a-f]\{32\}\)".*/\1/p' | head -n 1)

if [ -c /dev/fuse ]; then
    echo
    echo "All snapshots as a file system; the lost file comes back with cp:"
    mkdir "$demo/mnt"
    trap '"$larder" unmount "$demo/mnt" 2>/dev/null || true' EXIT
    run mount --daemon "$demo/data" "$demo/mnt"
    printf '\n$ ls -l mnt mnt/latest/.snapshots\n'
    ls -l "$demo/mnt" "$demo/mnt/latest/.snapshots/"
    snapshot=$(ls "$demo/mnt" | head -n 1)
    printf '\n$ cp mnt/%s/lib.rs data/lib.rs\n' "$snapshot"
    cp "$demo/mnt/$snapshot/lib.rs" "$demo/data/lib.rs"
    cmp "$demo/lib.rs.original" "$demo/data/lib.rs"
    run unmount "$demo/mnt"
    trap - EXIT
    rm "$demo/data/lib.rs"
else
    echo
    echo "There is no /dev/fuse here, so nothing is mounted."
fi

echo
echo "Or it comes back by a restore:"
run restore "$first/lib.rs" "$demo/data/lib.rs"
cmp "$demo/lib.rs.original" "$demo/data/lib.rs"
echo "It is the same, byte for byte. All of this is in $demo."
