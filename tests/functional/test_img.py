# SPDX-License-Identifier: Apache-2.0
"""system-emu-img, and images that go back and forth between it and qemu-img."""
import hashlib
import json
import os
import random
import re
import shutil
import subprocess

import pytest

import emu

IMG = os.path.join(os.path.dirname(os.path.abspath(emu.BINARY)), "system-emu-img")
needs_qemu = pytest.mark.skipif(not shutil.which("qemu-img") or not shutil.which("qemu-io"),
                                reason="qemu-utils is not installed")
MIB = 1 << 20

FEATURES = {
    "default": "",
    "v2": "compat=0.10",
    "small clusters": "cluster_size=512",
    "large clusters": "cluster_size=2M",
    "refcount 1": "refcount_bits=1",
    "refcount 2": "refcount_bits=2,cluster_size=4k",
    "refcount 4": "refcount_bits=4",
    "refcount 8": "refcount_bits=8",
    "refcount 32": "refcount_bits=32",
    "refcount 64": "refcount_bits=64,cluster_size=1k",
    "lazy": "lazy_refcounts=on",
    "subclusters": "extended_l2=on,cluster_size=128k",
    "small subclusters": "extended_l2=on,cluster_size=16k",
    "metadata": "preallocation=metadata",
    "falloc": "preallocation=falloc",
    "full": "preallocation=full",
    "zstd": "compression_type=zstd",
    "data file": "data_file=DATA",
    "raw data file": "data_file=DATA,data_file_raw=on",
}


def img(*arguments, status=0):
    result = subprocess.run([IMG, *map(str, arguments)], capture_output=True, text=True, timeout=120)
    assert result.returncode == status, (arguments, result.returncode, result.stdout, result.stderr)
    return result.stdout if status == 0 else result.stdout + result.stderr


def qemu_img(*arguments, status=0):
    result = subprocess.run(["qemu-img", *map(str, arguments)], capture_output=True, text=True, timeout=120)
    assert result.returncode == status, (arguments, result.returncode, result.stdout, result.stderr)
    return result.stdout


def qemu_io(path, commands):
    arguments = ["qemu-io", "-f", "qcow2"]
    for command in commands:
        arguments += ["-c", command]
    result = subprocess.run([*arguments, str(path)], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0 and "failed" not in result.stdout + result.stderr, result.stdout + result.stderr


def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def content(convert, path, folder):
    """The hash of what an image holds, by one of the two tools."""
    raw = folder / "content.raw"
    convert("convert", "-O", "raw", path, raw)
    return digest(raw)


def random_writes(seed, size, count=60):
    rng = random.Random(seed)
    commands = []
    for _ in range(count):
        offset = rng.randrange(0, size // 512) * 512
        length = min(rng.choice([512, 4096, 65536, 300 * 512]), size - offset)
        kind = rng.randrange(10)
        if kind == 0:
            commands.append(f"write -z {offset} {length}")
        elif kind == 1:
            commands.append(f"write -zu {offset} {length}")
        elif kind == 2:
            commands.append(f"discard {offset} {length}")
        else:
            commands.append(f"write -P {rng.randrange(1, 255)} {offset} {length}")
    return commands


def random_raw(path, seed, size):
    rng = random.Random(seed)
    data = bytearray(size)
    for _ in range(80):
        offset = rng.randrange(0, size // 512) * 512
        length = min(rng.choice([512, 4096, 65536, 200 * 512]), size - offset)
        data[offset:offset + length] = (rng.randbytes(length) if rng.randrange(2)
                                        else bytes([rng.randrange(1, 255)]) * length)
    path.write_bytes(data)


def options_for(feature, folder, name):
    text = FEATURES[feature].replace("DATA", str(folder / (name + ".data")))
    return ["-o", text] if text else []


@needs_qemu
@pytest.mark.parametrize("feature", FEATURES)
def test_images_made_by_qemu_hold_the_same_for_us(feature, tmp_path):
    image = tmp_path / "a.qcow2"
    qemu_img("create", "-f", "qcow2", *options_for(feature, tmp_path, "a"), image, 4 * MIB)
    qemu_io(image, random_writes(feature, 4 * MIB))
    assert content(img, image, tmp_path) == content(qemu_img, image, tmp_path)
    assert "No errors were found" in img("check", image)
    if feature not in ("metadata", "falloc", "full"):  # there qemu-img asks the file below which data is a hole
        ours, theirs = (json.loads(tool("map", "--output=json", image)) for tool in (img, qemu_img))
        assert ours == theirs
    ours, theirs = (json.loads(tool("info", "--output=json", image)) for tool in (img, qemu_img))
    assert ours == theirs


@needs_qemu
@pytest.mark.parametrize("feature", FEATURES)
def test_images_made_by_us_hold_the_same_for_qemu(feature, tmp_path):
    source, image = tmp_path / "source.raw", tmp_path / "b.qcow2"
    random_raw(source, feature, 4 * MIB)
    img("convert", "-f", "raw", "-O", "qcow2", *options_for(feature, tmp_path, "b"), source, image)
    qemu_img("check", image)
    assert content(qemu_img, image, tmp_path) == digest(source)
    # And once more over it, in place, and by the other one in between.
    qemu_io(image, random_writes(feature + "!", 4 * MIB))
    random_raw(source, feature + "?", 4 * MIB)
    img("convert", "-n", "-f", "raw", "-O", "qcow2", source, image)
    qemu_img("check", image)
    assert content(qemu_img, image, tmp_path) == digest(source)
    if "raw data" in feature:
        assert digest(tmp_path / "b.data") == digest(source)


@needs_qemu
@pytest.mark.parametrize("feature", ["default", "v2", "small subclusters", "small clusters", "zstd", "refcount 1"])
def test_compressed_clusters_go_both_ways(feature, tmp_path):
    source, ours, theirs = tmp_path / "source.raw", tmp_path / "ours.qcow2", tmp_path / "theirs.qcow2"
    random_raw(source, feature, 4 * MIB)
    options = options_for(feature, tmp_path, "c")
    img("convert", "-c", "-f", "raw", "-O", "qcow2", *options, source, ours)
    qemu_img("convert", "-c", "-f", "raw", "-O", "qcow2", *options, source, theirs)
    qemu_img("check", ours)
    img("check", theirs)
    assert content(qemu_img, ours, tmp_path) == digest(source)
    assert content(img, theirs, tmp_path) == digest(source)
    checked = json.loads(img("check", "--output=json", ours))
    assert checked["compressed-clusters"] > 0
    assert os.stat(ours).st_size < 1.3 * os.stat(theirs).st_size
    # Compressed clusters that are written to.
    random_raw(source, feature + "again", 4 * MIB)
    img("convert", "-n", "-f", "raw", "-O", "qcow2", source, theirs)
    qemu_img("check", theirs)
    assert content(qemu_img, theirs, tmp_path) == digest(source)


@needs_qemu
@pytest.mark.parametrize("feature", ["default", "v2", "small subclusters"])
def test_backing_chains(feature, tmp_path):
    base, middle, top = (tmp_path / name for name in ("base.raw", "middle.qcow2", "top.qcow2"))
    random_raw(base, feature, 3 * MIB)
    options = options_for(feature, tmp_path, "d")
    img("create", "-f", "qcow2", *options, "-b", "base.raw", "-F", "raw", middle, 5 * MIB)
    qemu_io(middle, random_writes(feature, 5 * MIB, 25))
    qemu_img("create", "-q", "-f", "qcow2", *options, "-b", "middle.qcow2", "-F", "qcow2", top, 6 * MIB)
    qemu_io(top, random_writes(feature + "top", 6 * MIB, 25))
    assert content(img, top, tmp_path) == content(qemu_img, top, tmp_path)
    if feature != "small subclusters":  # qemu-img splits rows of these where we do not
        assert json.loads(img("map", "--output=json", top)) == json.loads(qemu_img("map", "--output=json", top))
    assert "identical" in img("compare", top, tmp_path / "content.raw")
    assert len(json.loads(img("info", "--backing-chain", "--output=json", top))) == 3
    # Only what is not in the base is copied.
    new = tmp_path / "new.qcow2"
    img("convert", "-O", "qcow2", "-B", "middle.qcow2", "-F", "qcow2", top, new)
    qemu_img("check", new)
    assert "identical" in qemu_img("compare", top, new)
    # Resizing does not let the base shine through.
    img("resize", "--shrink", top, 2 * MIB)
    img("resize", top, 6 * MIB)
    qemu_img("check", top)
    raw = tmp_path / "grown.raw"
    qemu_img("convert", "-O", "raw", top, raw)
    assert raw.read_bytes()[2 * MIB:] == bytes(4 * MIB)


@needs_qemu
def test_internal_snapshots_are_kept(tmp_path):
    image, source = tmp_path / "a.qcow2", tmp_path / "s.raw"
    qemu_img("create", "-f", "qcow2", image, 4 * MIB)
    qemu_io(image, random_writes("snap", 4 * MIB))
    before = content(qemu_img, image, tmp_path)
    qemu_img("snapshot", "-c", "one", image)
    random_raw(source, "new", 4 * MIB)
    img("convert", "-n", "-f", "raw", "-O", "qcow2", source, image)
    qemu_img("check", image)
    assert "No errors" in img("check", image)
    assert content(qemu_img, image, tmp_path) == digest(source)
    old = tmp_path / "old.raw"
    qemu_img("convert", "-l", "snapshot.name=one", "-O", "raw", image, old)
    assert digest(old) == before


@needs_qemu
def test_persistent_bitmaps_are_kept(tmp_path):
    image, source = tmp_path / "a.qcow2", tmp_path / "s.raw"
    qemu_img("create", "-f", "qcow2", image, 4 * MIB)
    qemu_img("bitmap", "--add", image, "enabled")
    qemu_img("bitmap", "--add", "--disable", image, "disabled")
    random_raw(source, "bitmap", 4 * MIB)
    img("convert", "-n", "-f", "raw", "-O", "qcow2", source, image)
    qemu_img("check", image)
    assert "No errors" in img("check", image)
    info = json.loads(qemu_img("info", "--output=json", image))
    assert json.loads(img("info", "--output=json", image)) == info
    rows = {row["name"]: row["flags"] for row in info["format-specific"]["data"]["bitmaps"]}
    assert rows == {"enabled": ["auto"], "disabled": []}
    assert "persistent bitmaps" in img("resize", image, 8 * MIB, status=1)


@needs_qemu
@pytest.mark.parametrize("feature", ["default", "v2", "small clusters", "small subclusters", "raw data file"])
def test_resize(feature, tmp_path):
    source, image = tmp_path / "source.raw", tmp_path / "r.qcow2"
    random_raw(source, feature, 4 * MIB)
    img("convert", "-f", "raw", "-O", "qcow2", *options_for(feature, tmp_path, "r"), source, image)
    for size in ("+60M", "5M", "40M", "3M", "+512"):
        assert "resized" in img("resize", "--shrink", image, size)
        qemu_img("check", image)
    raw = tmp_path / "out.raw"
    qemu_img("convert", "-O", "raw", image, raw)
    assert raw.read_bytes() == source.read_bytes()[:3 * MIB] + bytes(512)


@needs_qemu
def test_broken_counts_are_found_and_mended(tmp_path):
    image = tmp_path / "a.qcow2"
    qemu_img("create", "-f", "qcow2", image, 4 * MIB)
    qemu_io(image, ["write -P 1 0 1M"])
    expected = content(qemu_img, image, tmp_path)
    with open(image, "r+b") as file:
        file.seek(0x20000)  # the first refcount block
        file.write(bytes(16) + (b"\0\1" * 30))
    assert "ERROR cluster 5 refcount=0 reference=1" in img("check", image, status=2)
    said = img("check", "-r", "all", image)
    assert "No errors were found" in said
    qemu_img("check", image)
    assert content(qemu_img, image, tmp_path) == expected
    with open(image, "r+b") as file:
        file.seek(0x20000 + 2 * 100)
        file.write(b"\0\1" * 7)
    assert "7 leaked clusters" in img("check", image, status=3)
    img("check", "-r", "leaks", image)
    qemu_img("check", image)


@needs_qemu
def test_a_dirty_image_is_repaired_before_it_is_written(tmp_path):
    image, source = tmp_path / "a.qcow2", tmp_path / "s.raw"
    qemu_img("create", "-f", "qcow2", "-o", "lazy_refcounts=on", image, 4 * MIB)
    killed = subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write -P 5 0 2M", "-c", "flush", "-c", "sigraise 9",
                             str(image)],
                            capture_output=True, timeout=60)
    assert killed.returncode == -9
    assert json.loads(img("info", "--output=json", image))["dirty-flag"] is True
    random_raw(source, "dirty", 4 * MIB)
    img("convert", "-n", "-f", "raw", "-O", "qcow2", source, image)
    assert json.loads(qemu_img("info", "--output=json", image))["dirty-flag"] is False
    qemu_img("check", image)
    assert content(qemu_img, image, tmp_path) == digest(source)


@needs_qemu
def test_what_people_read_is_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = {}
    for name, tool in (("ours", IMG), ("theirs", "qemu-img")):
        for old in tmp_path.iterdir():
            old.unlink()
        text = ""
        for line in ("create -f qcow2 a.qcow2 64M", "create -f qcow2 -b a.qcow2 -F qcow2 b.qcow2",
                     "create -f raw c.raw 1G",
                     "create -f qcow2 -o compat=v2,cluster_size=4k,preallocation=metadata d.qcow2 1M",
                     "create -f raw x", "create -f qcow2 -o foo=1 x 1M", "create -f foo x 1M", "create -f qcow2 x 1Q",
                     "create -f qcow2 -o cluster_size=3k x 1M", "create -f qcow2 -o refcount_bits=3 x 1M",
                     "create -f qcow2 -o compat=0.10,lazy_refcounts=on x 1M",
                     "map b.qcow2", "map --output=json b.qcow2", "check b.qcow2", "check --output=json b.qcow2",
                     "check c.raw", "check d.qcow2", "resize b.qcow2 32M", "resize --shrink b.qcow2 32M",
                     "resize b.qcow2 +1M", "compare a.qcow2 b.qcow2", "compare -s a.qcow2 b.qcow2",
                     "compare a.qcow2 missing", "foo"):
            done = subprocess.run([tool, *line.split()], capture_output=True, text=True, timeout=60)
            text += f"$ {line}\n{done.stdout}[{done.returncode}]\n"
        said[name] = text
    assert said["ours"] == said["theirs"]


def test_a_conversion_tells_how_far_it_is(tmp_path):
    (tmp_path / "a.raw").write_bytes(bytes(range(256)) * (MIB // 64))
    said = img("convert", "-p", "-f", "raw", "-O", "qcow2", tmp_path / "a.raw", tmp_path / "a.qcow2")
    steps = [float(step) for step in re.findall(r"\((\d+\.\d\d)/100%\)", said)]
    assert steps[0] == 0 and steps[-1] == 100 and len(steps) > 2 and steps == sorted(steps), said


def test_bad_images_are_refused_in_one_sentence(tmp_path):
    image = tmp_path / "a.qcow2"
    img("create", "-q", "-f", "qcow2", image, "4M")
    good = image.read_bytes()

    def broken(offset, data):
        image.write_bytes(good[:offset] + data + good[offset + len(data):])
        said = img("info", image, status=1)
        assert said.startswith(f"system-emu-img: Could not open '{image}': ") and len(said.splitlines()) == 1, said
        return said

    assert "version 4" in broken(4, b"\0\0\0\4")
    assert "cluster size" in broken(20, b"\0\0\0\x40")
    assert "encrypted" in broken(32, b"\0\0\0\1")
    assert "bit 40" in broken(74, b"\1")
    assert "L1 table" in broken(40, b"\xff" * 8)
    assert "reference count table" in broken(48, b"\0" * 6 + b"\1\1")
    assert "beyond the end" in broken(40, b"\0" * 4 + b"\x40\0\0\0")
    assert "No such file" in img("info", tmp_path / "missing", status=1)
    image.write_bytes(good)
    looping = tmp_path / "loop.qcow2"
    img("create", "-q", "-u", "-f", "qcow2", "-b", "loop2.qcow2", "-F", "qcow2", looping, "1M")
    img("create", "-q", "-u", "-f", "qcow2", "-b", "loop.qcow2", "-F", "qcow2", tmp_path / "loop2.qcow2", "1M")
    assert "infinite loop" in img("info", "--backing-chain", looping, status=1)


@needs_qemu
def test_an_image_in_use_is_refused(tmp_path):
    image = tmp_path / "a.qcow2"
    img("create", "-q", "-f", "qcow2", image, "4M")
    user = subprocess.Popen(["qemu-io", "-f", "qcow2", str(image)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            text=True)
    try:
        user.stdin.write("write 0 512\n")
        user.stdin.flush()
        user.stdout.readline()
        assert "lock" in img("resize", image, "8M", status=1)
        assert "4 MiB" in img("info", "-U", image)
    finally:
        user.stdin.close()
        user.wait()
    img("resize", "-q", image, "8M")


def test_what_would_destroy_an_image_is_refused(tmp_path):
    image = tmp_path / "a.img"
    image.write_bytes(b"data" * 1024)
    assert "converted onto itself" in img("convert", "-f", "raw", "-O", "raw", image, f"{tmp_path}/./a.img", status=1)
    assert image.read_bytes() == b"data" * 1024
    assert "same filename" in img("create", "-f", "qcow2", "-b", f"{tmp_path}/./a.img", "-F", "raw", image, status=1)
    assert image.read_bytes() == b"data" * 1024
    top = tmp_path / "top.qcow2"
    img("create", "-q", "-f", "qcow2", "-b", image, "-F", "raw", top)
    assert "converted onto itself" in img("convert", "-O", "raw", top, image, status=1)
    for size in ("18446744073709551615", "16E"):
        assert "Invalid image size" in img("create", tmp_path / "huge", size, status=1)
        assert "Invalid image size" in img("resize", "-f", "raw", "--shrink", image, size, status=1)
    assert image.read_bytes() == b"data" * 1024
