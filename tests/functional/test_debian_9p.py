# SPDX-License-Identifier: Apache-2.0
"""Folders of the host in a Debian guest over virtio-9p: trees in both directions with equal hashes.
ctest label debian."""
import hashlib
import os
import pathlib
import stat
import sys

import pytest

import emu
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "guests"))
import debian_guest  # noqa: E402

MOUNT = "mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144"
SUMS = "find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum"


def make_tree(folder):
    """Files of awkward sizes, deep folders, names beyond ASCII, links, and a folder that takes several replies."""
    deep = folder / "deep" / "er" / "and deeper"
    deep.mkdir(parents=True)
    for size in (0, 1, 4095, 4096, 4097, 262144, 3_000_001):
        (deep / f"file-{size}").write_bytes(os.urandom(size))
    (folder / "größe ☃").write_bytes(b"snow")
    many = folder / "many"
    many.mkdir()
    for number in range(2000):
        (many / f"{number:04}-{'x' * (number % 150)}").write_bytes(b"%d" % number)
    os.symlink("deep/er", folder / "link")


def is_mapped_link(path):
    """With security_model=mapped-xattr the guest's links are files here, whose mode is an attribute."""
    try:
        return stat.S_ISLNK(int.from_bytes(os.getxattr(path, "user.virtfs.mode"), "little"))
    except OSError:
        return False


def sums_of(folder):
    """The same as SUMS says in the guest."""
    names = []
    for root, _, files in os.walk(folder):
        for name in files:
            path = os.path.join(root, name)
            if not os.path.islink(path) and not is_mapped_link(path):
                names.append(path)
    lines = []
    for path in sorted(os.fsencode("./" + os.path.relpath(path, folder)) for path in names):
        content = (pathlib.Path(folder) / os.fsdecode(path)).read_bytes()
        lines.append(hashlib.sha256(content).hexdigest().encode() + b"  " + path + b"\n")
    return hashlib.sha256(b"".join(lines)).hexdigest()


def share(tag, folder, *options):
    return ["-fsdev", ",".join(["local", f"id={tag}", f"path={folder}", *options]), "-device",
            f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]


def exercise(guest, mounted):
    """What programs do to files, each with its check in the guest."""
    guest.run(f"mkdir {mounted}/work && cd {mounted}/work && echo one >a && echo two >>a && "
              "test \"$(cat a)\" = \"one\ntwo\"")
    guest.run(f"cd {mounted}/work && ln -s a link && test $(readlink link) = a && test \"$(cat link)\" = \"$(cat a)\"")
    guest.run(f"cd {mounted}/work && chmod 751 a && test $(stat -c %a a) = 751 && touch -d @1000000000 a && "
              "test $(stat -c %Y a) = 1000000000")
    guest.run(f"cd {mounted}/work && ln a hard && test $(stat -c %h a) = 2 && rm hard && test $(stat -c %h a) = 1")
    guest.run(f"cd {mounted}/work && mkdir -p d/e && mv d f && mv a f/e/b && test -f f/e/b && ! test -e a")
    guest.run(f"cd {mounted}/work && truncate -s 1000000 t && truncate -s 10 t && test $(stat -c %s t) = 10")
    guest.run(f"cd {mounted}/work && mkfifo p && test -p p && (echo through >p & cat p | grep through)")
    guest.run(f"cd {mounted}/work && exec 9>gone && rm gone && echo x >&9 && exec 9>&-")
    guest.run(f"cd {mounted}/work && ! rmdir f 2>/dev/null && rm -r f && ! test -e f")
    guest.run(f"df {mounted} | grep -q {mounted}")
    guest.run(f"cd {mounted}/work && flock lock true")
    # Several at once, with the requests of one behind those of the others.
    guest.run(f"cd {mounted}/work && (for i in 1 2 3 4 5 6; do (dd if=/dev/urandom of=p$i bs=64k count=64 2>/dev/null; "
              "cat p$i | sha256sum >s$i) & done; wait; for i in 1 2 3 4 5 6; do "
              "test \"$(sha256sum <p$i)\" = \"$(cat s$i)\" || exit 1; done)")


def test_debian_9p(tmp_path):
    if debian_guest.needs():
        pytest.skip(debian_guest.needs())
    absent = debian_guest.missing(emu.BINARY, ["virtio-9p-pci"])
    if absent:
        pytest.xfail(f"the program has no device {absent}")
    plain, mapped, fixed = (tmp_path / name for name in ("plain", "mapped", "fixed"))
    for folder in (plain, mapped, fixed):
        folder.mkdir()
        make_tree(folder)
    outside = tmp_path / "outside"
    outside.write_text("not for guests", encoding="utf-8")
    arguments = ["-cpu", "max", "-smp", "2", *debian_guest.direct_kernel(),
                 *debian_guest.disk(debian_guest.overlay(tmp_path), "virtio-blk"),
                 *share("plain", plain, "security_model=none"),
                 *share("mapped", mapped, "security_model=mapped-xattr"),
                 "-virtfs", f"local,path={fixed},mount_tag=fixed,security_model=none,readonly=on"]
    with debian_guest.Console(emu.BINARY, tmp_path, *arguments) as guest:
        guest.login(600)
        guest.run("modprobe 9p && modprobe 9pnet_virtio")
        for tag, folder in (("plain", plain), ("mapped", mapped), ("fixed", fixed)):
            guest.run(f"mkdir -p /mnt/{tag} && {MOUNT} {tag} /mnt/{tag}")
            wanted = sums_of(folder)
            assert wanted in guest.run(f"cd /mnt/{tag} && {SUMS}"), tag
            assert guest.run(f"ls /mnt/{tag}/many | wc -l") == "2000"
            assert guest.run(f"ls /mnt/{tag}/link/ | cat") == "and deeper"
        # A link that leads out is the guest's own to follow: there it finds its own files.
        os.symlink("../outside", plain / "out")
        guest.run("! cat /mnt/plain/out 2>/dev/null && test $(readlink /mnt/plain/out) = ../outside")
        refused = guest.run("touch /mnt/fixed/x 2>&1 || true")
        assert "Read-only file system" in refused, refused

        for tag, folder in (("plain", plain), ("mapped", mapped)):
            exercise(guest, f"/mnt/{tag}")
            written = guest.run(f"cp -a /usr/share/doc /mnt/{tag}/doc && cd /usr/share/doc && {SUMS}").split()[0]
            assert written in guest.run(f"cd /mnt/{tag}/doc && {SUMS}"), tag
            assert sums_of(folder / "doc") == written, tag
            assert guest.run(f"cd /mnt/{tag} && rm -r doc work && ls | cat") == "\n".join(
                sorted({"deep", "größe ☃", "link", "many"} | ({"out"} if tag == "plain" else set()))), tag
        # In the mapped folder nothing is the guest's: owner, mode and kind are beside the file.
        guest.run("cd /mnt/mapped && mknod disk b 8 1 && ln -s /etc/passwd secret && "
                  "echo x >owned && chown 12:34 owned && "
                  "chmod 4711 owned && test \"$(stat -c '%a %u %g' owned)\" = '4711 12 34' && "
                  "test \"$(stat -c %F disk)\" = 'block special file'")
        for name in ("disk", "secret", "owned"):
            status = os.lstat(mapped / name)
            assert stat.S_ISREG(status.st_mode) and status.st_mode & 0o7777 == 0o600, name
            assert status.st_uid == os.getuid(), name
        guest.run("cd / && umount /mnt/plain /mnt/mapped /mnt/fixed")
        guest.run(f"{MOUNT} plain /mnt/plain && umount /mnt/plain")
        guest.power_off()
    assert outside.read_text(encoding="utf-8") == "not for guests"
