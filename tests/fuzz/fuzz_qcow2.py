# SPDX-License-Identifier: Apache-2.0
"""Breaks qcow2 images at random and shows them to system-emu-img: no crash, no hang, nothing that sanitizers
complain of.

    fuzz_qcow2.py [--seconds 600] [--seed N]
"""
import argparse
import os
import random
import resource
import subprocess
import sys
import tempfile
import time

TOOL = os.path.join(os.path.dirname(os.path.abspath(os.environ.get("EMU_BINARY", "build/release/system-emu"))),
                    "system-emu-img")
SANITIZED = 99
ENVIRONMENT = {**os.environ, "ASAN_OPTIONS": f"exitcode={SANITIZED}:detect_leaks=1",
               "UBSAN_OPTIONS": f"exitcode={SANITIZED}:halt_on_error=1:print_stacktrace=1"}
OPTIONS = ["", "compat=v2", "cluster_size=512", "extended_l2=on,cluster_size=16k", "refcount_bits=1,cluster_size=4k",
           "lazy_refcounts=on", "compression_type=zstd", "refcount_bits=64", "preallocation=metadata,cluster_size=4k"]
PATIENCE_S = 120


def limit():
    resource.setrlimit(resource.RLIMIT_FSIZE, (256 << 20, 256 << 20))


def tool(folder, *arguments):
    done = subprocess.run([TOOL, *arguments], cwd=folder, capture_output=True, timeout=PATIENCE_S, env=ENVIRONMENT,
                          preexec_fn=limit)
    if done.returncode < 0 and done.returncode != -25 or done.returncode == SANITIZED:
        raise AssertionError(f"{arguments}: {done.returncode}\n{done.stderr.decode(errors='replace')[-4000:]}")


def make_images(folder, rng):
    with open(folder + "/source.raw", "wb") as raw:
        for _ in range(12):
            raw.seek(rng.randrange(1 << 20))
            raw.write(rng.randbytes(rng.randrange(1, 20000)))
        raw.truncate(1 << 20)
    images = []
    for i, options in enumerate(OPTIONS):
        for compressed in ([], ["-c"]):
            name = f"good{i}{'c' if compressed else ''}"
            tool(folder, "convert", *compressed, "-f", "raw", "-O", "qcow2", *(["-o", options] if options else []),
                 "source.raw", name)
            with open(folder + "/" + name, "rb") as image:
                images.append(image.read())
    return images


def damaged(image, rng):
    image = bytearray(image)
    cluster = 1 << image[23]
    for _ in range(rng.randrange(1, 6)):
        where = rng.randrange(4)
        if where == 0:
            at = rng.randrange(112)
        elif where == 1:
            at = rng.randrange(min(len(image), 8 * cluster))
        elif where == 2:
            at = int.from_bytes(image[40:48], "big") + rng.randrange(16)
        else:
            l1 = int.from_bytes(image[40:48], "big")
            at = (int.from_bytes(image[l1:l1 + 8], "big") & 0xfffffffffffe00) + rng.randrange(256)
        if at + 8 > len(image):
            continue
        kind = rng.randrange(4)
        if kind == 0:
            image[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            image[at] = rng.randrange(256)
        elif kind == 2:
            image[at:at + 8] = rng.randbytes(8)
        else:
            entry = rng.randrange(20) * cluster | rng.choice([0, 1 << 63, 1 << 62, 1])
            image[at & ~7:(at & ~7) + 8] = entry.to_bytes(8, "big")
    if rng.randrange(20) == 0:
        del image[rng.randrange(len(image)):]
    return bytes(image)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("FUZZ_SECONDS", "600")))
    parser.add_argument("--seed", type=int, default=time.time_ns())
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    end = time.monotonic() + arguments.seconds
    rounds = 0
    with tempfile.TemporaryDirectory() as folder:
        images = make_images(folder, rng)
        try:
            while time.monotonic() < end:
                content = damaged(rng.choice(images), rng)
                with open(folder + "/bad", "wb") as bad:
                    bad.write(content)
                for command in rng.sample([["info", "bad"], ["check", "bad"], ["map", "--output=json", "bad"],
                                           ["check", "-r", "all", "bad"], ["compare", "bad", "source.raw"],
                                           ["resize", "--shrink", "bad", "700k"],
                                           ["convert", "-n", "-f", "raw", "-O", "qcow2", "source.raw", "bad"]], 3):
                    tool(folder, *command)
                rounds += 1
        except (AssertionError, subprocess.TimeoutExpired) as failure:
            keep = os.path.join(tempfile.gettempdir(), f"fuzz-qcow2-{arguments.seed}.img")
            with open(keep, "wb") as kept:
                kept.write(content)
            print(f"seed {arguments.seed}, round {rounds}, image {keep}: {failure}")
            return 1
    print(f"{rounds} images, seed {arguments.seed}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
