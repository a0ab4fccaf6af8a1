#!/usr/bin/env python3
"""Measure larder on what is large: many files, many contents, one long file. Standard library only.

    large.py LARDER MANY_CONTENTS WORK [files|contents|file ...]

files     1,000,000 files in 1,000 directories: the first snapshot, and an unchanged one again, beside `find -printf`
          over all attributes; both with a warm page cache
contents  a repository of 5,000,000 contents in 200 index blobs: opened the first and the second time
file      a file of 8 GiB of database pages: backed up, and restored, beside the disk's speed (`dd` of as many bytes)

Wall and CPU seconds, and peak anonymous memory in MiB, sampled every 5 ms. WORK needs 30 GiB; what is made there
before is used again.
"""
import os
import random
import shutil
import subprocess
import sys
import threading
import time

PASSWORD = "bench-password"
# Bytes of a half of a page.
PAGE = 8192


def anonymous(pid):
    """Anonymous resident memory of a process now, in MiB."""
    try:
        with open(f"/proc/{pid}/status") as f:
            return next((int(line.split()[1]) / 1024 for line in f if line.startswith("RssAnon")), 0.0)
    except OSError:
        return 0.0


def measure(what, argv, env=None):
    """Runs a command, prints what it needed, and gives its wall seconds."""
    start = time.monotonic()
    p = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    peak, over = [0.0], threading.Event()

    def sample():
        while not over.wait(0.005):
            peak[0] = max(peak[0], anonymous(p.pid))

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    errors = p.stderr.read()
    _, status, usage = os.wait4(p.pid, 0)
    wall = time.monotonic() - start
    over.set()
    sampler.join()
    if status:
        sys.exit(f"{' '.join(argv)}: {errors.decode(errors='replace')[-2000:]}")
    print(f"| {what} | {wall:.2f} | {usage.ru_utime + usage.ru_stime:.2f} | {peak[0]:.0f} |", flush=True)
    return wall


class Client:
    """A repository and who is connected to it."""

    def __init__(self, larder, work):
        self.larder, self.work = larder, work
        self.repository = os.path.join(work, "repository")
        self.env = dict(os.environ, HOME=work, XDG_CACHE_HOME=os.path.join(work, "cache"), KOPIA_PASSWORD=PASSWORD,
                        KOPIA_CONFIG_PATH=os.path.join(work, "client", "repository.config"))
        self.env.pop("KOPIA_CACHE_DIRECTORY", None)

    def run(self, *arguments):
        subprocess.run([self.larder, *arguments], env=self.env, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def create(self):
        shutil.rmtree(self.work, ignore_errors=True)
        os.makedirs(self.work)
        self.run("repository", "create", "filesystem", "--path", self.repository)
        self.run("policy", "set", "--global", "--compression=zstd-fastest")

    def measure(self, what, *arguments):
        return measure(what, [self.larder, *arguments], self.env)


def files(client, work):
    tree = os.path.join(work, "files")
    if not os.path.exists(os.path.join(tree, "999")):
        for d in range(1000):
            directory = os.path.join(tree, f"{d:03}")
            os.makedirs(directory, exist_ok=True)
            for f in range(1000):
                with open(os.path.join(directory, f"file-{f:03}"), "w") as out:
                    out.write(f"file {f} of directory {d}\n")
    client.create()
    find = ["find", tree, "-printf", "%p %s %m %U %G %T@ %i\\n"]
    measure("1,000,000 files: find -printf, cold or warm", find)
    client.measure("first snapshot", "snapshot", "create", tree)
    # In turns, so that all see the same machine.
    walls = [(measure("find -printf", find), client.measure("unchanged", "snapshot", "create", tree)) for _ in range(3)]
    print(f"\nunchanged to find: {', '.join(f'{again / found:.2f}' for found, again in walls)}\n")


def contents(client, work, many_contents):
    shutil.rmtree(client.work, ignore_errors=True)
    os.makedirs(client.work)
    subprocess.run([many_contents, client.repository, "5000000", "200"], env=client.env, check=True)
    client.run("repository", "connect", "filesystem", "--path", client.repository)
    source = os.path.join(client.work, "source")
    os.makedirs(source)
    with open(os.path.join(source, "file"), "w") as out:
        out.write("what is wanted")
    client.run("snapshot", "create", source)
    shutil.rmtree(os.path.join(client.work, "cache"))
    for what in "first", "second", "third":
        target = os.path.join(client.work, what)
        client.measure(f"5,000,000 contents: {what} open and restore of a file", "restore", source + "/file", target)


def file(client, work):
    source = os.path.join(work, "long")
    path = os.path.join(source, "table")
    if not os.path.exists(path) or os.path.getsize(path) < 8 << 30:
        os.makedirs(source, exist_ok=True)
        rng = random.Random(8)
        words = [bytes(rng.choices(b"abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(3000)]
        text = b" ".join(rng.choices(words, k=1 << 21))
        with open(path, "wb") as out:
            # Pages of which half is text and half is numbers, so that no two are the same.
            for _ in range(8 << 30 >> 24):
                starts = (rng.randrange(len(text) - PAGE) for _ in range((16 << 20) // (2 * PAGE)))
                out.write(b"".join(text[start : start + PAGE] + os.urandom(PAGE) for start in starts))
    client.create()
    client.measure("8 GiB in one file: backup", "snapshot", "create", source)
    for _ in range(3):
        target = os.path.join(client.work, "target")
        os.sync()
        client.measure("restore", "restore", source, target)
        os.sync()
        shutil.rmtree(target)
        measure("dd of as many bytes", ["dd", f"if={path}", f"of={client.work}/written", "bs=4M"])
        os.remove(os.path.join(client.work, "written"))


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    larder, many_contents, work = map(os.path.abspath, sys.argv[1:4])
    what = sys.argv[4:] or ["files", "contents", "file"]
    os.makedirs(work, exist_ok=True)
    print("| what | wall (s) | CPU (s) | peak memory (MiB) |\n|---|---|---|---|")
    client = Client(larder, os.path.join(work, "client"))
    if "files" in what:
        files(client, work)
    if "contents" in what:
        contents(client, work, many_contents)
    if "file" in what:
        file(client, work)
    shutil.rmtree(client.work, ignore_errors=True)


if __name__ == "__main__":
    main()
