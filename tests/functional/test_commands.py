# SPDX-License-Identifier: Apache-2.0
"""Each command of QMP, called with right arguments and with wrong ones. A command that is added without a row here
fails the test. (Wrong types, missing and unknown arguments are made from the schema: test_qmp_schema.py.)"""
import json
import os
import re
import socket
import tempfile

import pytest

import emu
from qmp import Machine

UUID = "01234567-89ab-cdef-0123-456789abcdef"
MACHINE = ["-machine", "pc", "-m", "64", "-smp", "2", "-S", "-name", "guest=g", "-uuid", UUID,
           "-chardev", "ringbuf,id=ring,size=64", "-chardev", "null,id=spare", "-serial", "chardev:spare",
           "-object", "memory-backend-ram,id=ram1,size=1M", "-drive", "if=none,id=cd0,media=cdrom",
         "-drive", "if=none,id=d0,format=raw,file.driver=null-co,file.size=1M,file.node-name=below",
         "-object", "iothread,id=io0", "-device", "VGA,id=video,addr=1d.0"]
CPU_FLAGS = "cpu-index"


FD = True  # with a file descriptor


def anything(_):
    return True


def nothing(value):
    return value == []


def good(command, arguments=None, gives=anything, fd=False):
    return command, arguments or {}, None, gives, fd


def bad(command, arguments, says, fd=False, kind="GenericError"):
    return command, arguments, says, kind, fd


NULL = {"type": "null", "data": {}}
NODE = {"driver": "null-co", "node-name": "n", "size": 1 << 20}
RAM = {"qom-type": "memory-backend-ram", "id": "r", "size": 1 << 20}

# Steps, each row on a machine of its own. A row needs a right and a wrong call of its command; those without arguments
# get one that they do not have.
ROWS = {
    "add-fd": [good("add-fd", {"fdset-id": 5, "opaque": "o"}, {"fdset-id": 5}, FD),
               bad("add-fd", {"fdset-id": 5}, "No file descriptor supplied"),
               bad("add-fd", {"fdset-id": -1}, "non-negative", FD)],
    "query-fdsets": [good("add-fd", {"fdset-id": 5, "opaque": "o"}, fd=FD),
                     good("query-fdsets", gives=[{"fdset-id": 5, "fds": [{"opaque": "o"}]}])],
    "remove-fd": [good("add-fd", {"fdset-id": 5}, fd=FD),
                  bad("remove-fd", {"fdset-id": 5, "fd": 99}, "fd:99' not found"),
                  good("remove-fd", {"fdset-id": 5}, {}), bad("remove-fd", {"fdset-id": 5}, "not found"),
                  good("query-fdsets", gives=nothing)],
    "getfd": [good("getfd", {"fdname": "x"}, {}, FD), bad("getfd", {"fdname": "x"}, "No file descriptor supplied"),
              bad("getfd", {"fdname": "9x"}, "not starting with a digit", FD)],
    "closefd": [good("getfd", {"fdname": "x"}, fd=FD), good("closefd", {"fdname": "x"}, {}),
                bad("closefd", {"fdname": "x"}, "'x' not found")],
    "chardev-add": [good("chardev-add", {"id": "c", "backend": NULL}, {}),
                    bad("chardev-add", {"id": "c", "backend": NULL}, "already exists"),
                    bad("chardev-add", {"id": "d", "backend": {"type": "file", "data": {"out": "/no/such/place"}}},
                        "No such file"),
                    bad("chardev-add", {"id": "d", "backend": {"type": "nonsense", "data": {}}},
                        "does not accept value"),
                    good("query-chardev", gives=[{"label": "c", "filename": "null"}])],
    "chardev-change": [good("chardev-change", {"id": "ring", "backend": NULL}, {}),
                       good("query-chardev", gives=[{"label": "ring", "filename": "null"}]),
                       bad("chardev-change", {"id": "nope", "backend": NULL}, "'nope' not found")],
    "chardev-remove": [good("chardev-remove", {"id": "ring"}, {}), bad("chardev-remove", {"id": "ring"}, "not found"),
                       bad("chardev-remove", {"id": "compat_monitor0"}, "busy")],
    "chardev-send-break": [good("chardev-send-break", {"id": "spare"}, {}),
                           bad("chardev-send-break", {"id": "nope"}, "not found")],
    "cont": [good("cont", gives={}), good("query-status", gives={"status": "running", "running": True})],
    "stop": [good("cont"), good("stop", gives={}), good("query-status", gives={"status": "paused", "running": False})],
    "device-list-properties": [
        good("device-list-properties", {"typename": "isa-serial"}, [{"name": "iobase", "type": "uint32"}]),
        bad("device-list-properties", {"typename": "nope"}, "'nope' not found", kind="DeviceNotFound"),
        bad("device-list-properties", {"typename": "object"}, "non-abstract device type")],
    "dump-guest-memory": [
        good("dump-guest-memory", {"paging": False, "protocol": "file:core"}, {}),
        good("query-dump", gives={"status": "completed"}),
        bad("dump-guest-memory", {"paging": False, "protocol": "file:/no/such/core"}, "Could not open"),
        bad("dump-guest-memory", {"paging": True, "protocol": "file:core"}, "paging=true is not supported"),
        bad("dump-guest-memory", {"paging": False, "protocol": "tcp:x"}, "Invalid parameter 'protocol'"),
        bad("dump-guest-memory", {"paging": False, "protocol": "file:core", "begin": 1}, "'length' is missing")],
    "query-dump": [good("query-dump", gives={"status": "none", "total": 0})],
    "query-dump-guest-memory-capability": [good("query-dump-guest-memory-capability", gives={"formats": ["elf"]})],
    "human-monitor-command": [
        good("human-monitor-command", {"command-line": "info status"},
             lambda text: text.startswith("VM status: paused")),
        good("human-monitor-command", {"command-line": "info registers", CPU_FLAGS: 1},
             lambda text: text.startswith("CPU#1")),
        good("human-monitor-command", {"command-line": "nonsense"}, lambda text: "unknown command: 'nonsense'" in text),
        bad("human-monitor-command", {"command-line": "info status", CPU_FLAGS: 7}, "expects a CPU number")],
    "inject-nmi": [good("inject-nmi", gives={})],
    "memsave": [good("memsave", {"val": 0xfffffff0, "size": 16, "filename": "saved"}, {}),
                bad("memsave", {"val": 0, "size": 16, "filename": "/no/file"}, "Could not open"),
                bad("memsave", {"val": 0, "size": 16, "filename": "saved", CPU_FLAGS: 9}, "expects a CPU number")],
    "pmemsave": [good("pmemsave", {"val": 0, "size": 4096, "filename": "saved"}, {}),
                 bad("pmemsave", {"val": 0, "size": -1, "filename": "saved"}, "non-negative"),
                 bad("pmemsave", {"val": 0, "size": 4, "filename": "/no/file"}, "Could not open")],
    "migrate-set-capabilities": [
        good("migrate-set-capabilities", {"capabilities": [{"capability": "events", "state": True}]}, {}),
        good("query-migrate-capabilities", gives=[{"capability": "events", "state": True}]),
        bad("migrate-set-capabilities", {"capabilities": [{"capability": "nope", "state": True}]},
            "does not accept value 'nope'")],
    "query-migrate-capabilities": [good("query-migrate-capabilities",
                                        gives=[{"capability": "events", "state": False}])],
    "object-add": [good("object-add", RAM, {}), bad("object-add", RAM, "duplicate property 'r'"),
                   bad("object-add", {"qom-type": "nope", "id": "q"}, "does not accept value 'nope'"),
                   good("qom-get", {"path": "/objects/r", "property": "size"}, 1 << 20)],
    "object-del": [good("object-del", {"id": "ram1"}, {}), bad("object-del", {"id": "ram1"}, "'ram1' not found")],
    "qom-get": [good("qom-get", {"path": "/objects/ram1", "property": "size"}, 1 << 20),
                good("qom-get", {"path": "/machine", "property": "type"}, "pc-i440fx-7.2-machine"),
                good("qom-get", {"path": "/machine/i440fx", "property": "realized"}, True),
                bad("qom-get", {"path": "/nope", "property": "type"}, "'/nope' not found", kind="DeviceNotFound"),
                bad("qom-get", {"path": "/machine", "property": "nope"}, "nope' not found")],
    "qom-set": [good("qom-set", {"path": "/machine/i440fx", "property": "realized", "value": True}, {}),
                bad("qom-set", {"path": "/machine/i440fx", "property": "realized", "value": False},
                    "cannot be changed"),
                bad("qom-set", {"path": "/objects/ram1", "property": "share", "value": True}, "after it was realized"),
                bad("qom-set", {"path": "/machine", "property": "nope", "value": 1}, "not found"),
                bad("qom-set", {"path": "/nope", "property": "x", "value": 1}, "'/nope' not found",
                    kind="DeviceNotFound")],
    "qom-list": [good("qom-list", {"path": "/machine"}, [{"name": "peripheral", "type": "child<container>"},
                                                        {"name": "peripheral-anon", "type": "child<container>"},
                                                        {"name": "unattached", "type": "child<container>"},
                                                        {"name": "i440fx", "type": "child<i440FX-pcihost>"},
                                                        {"name": "hpet", "type": "bool"}]),
                 good("qom-list", {"path": "/"}, [{"name": "machine", "type": "child<pc-i440fx-7.2-machine>"}]),
                 # Where libvirt looks for what the guest's CPU has.
                 good("qom-list", {"path": "/machine/unattached/device[0]"},
                      [{"name": "unavailable-features"}, {"name": "sse2"}]),
                 bad("qom-list", {"path": "/nope"}, "'/nope' not found", kind="DeviceNotFound")],
    "qom-list-properties": [good("qom-list-properties", {"typename": "memory-backend-ram"}, [{"name": "size"}]),
                            bad("qom-list-properties", {"typename": "nope"}, "'nope' not found",
                                kind="DeviceNotFound")],
    "qom-list-types": [good("qom-list-types", {"implements": "device"}, [{"name": "isa-serial"}]),
                       good("qom-list-types", {"implements": "nope"}, nothing)],
    "blockdev-add": [good("blockdev-add", NODE, {}), bad("blockdev-add", NODE, "conflicting with a device id"),
                     good("blockdev-add", {"driver": "raw", "node-name": "r", "file": "n", "read-only": True}, {}),
                     bad("blockdev-add", {"driver": "null-co"}, "'node-name' must be specified"),
                     bad("blockdev-add", {"driver": "null-co", "node-name": "m", "sizee": 1}, "sizee"),
                     bad("blockdev-add", {"driver": "file", "node-name": "m", "filename": "/no/such"}, "No such file")],
    "blockdev-del": [good("blockdev-add", NODE), good("blockdev-add", {"driver": "raw", "node-name": "r", "file": "n"}),
                     bad("blockdev-del", {"node-name": "n"}, "in use"), good("blockdev-del", {"node-name": "r"}, {}),
                     good("blockdev-del", {"node-name": "n"}, {}),
                     bad("blockdev-del", {"node-name": "n"}, "Failed to find node"),
                     bad("blockdev-del", {"node-name": "below"}, "not owned by the monitor")],
    "blockdev-reopen": [good("blockdev-add", NODE),
                        good("blockdev-reopen", {"options": [{**NODE, "read-only": True}]}, {}),
                        good("query-named-block-nodes", gives=[{"node-name": "n", "ro": True}]),
                        bad("blockdev-reopen", {"options": [{**NODE, "size": 5}]}, "Cannot change the option 'size'"),
                        bad("blockdev-reopen", {"options": [{**NODE, "node-name": "x"}]}, "Failed to find node")],
    "block_resize": [good("block_resize", {"device": "d0", "size": 1 << 21}, {}),
                     good("query-block", gives=[{"device": "d0", "inserted": {"image": {"virtual-size": 1 << 21}}}]),
                     bad("block_resize", {"device": "nope", "size": 0}, "'nope' not found", kind="DeviceNotFound"),
                     bad("block_resize", {"size": 0}, "exactly one")],
    "blockdev-open-tray": [good("blockdev-open-tray", {"device": "cd0"}, {}),
                           bad("blockdev-open-tray", {"device": "d0"}, "not removable")],
    "blockdev-close-tray": [good("blockdev-close-tray", {"device": "cd0"}, {}),
                            bad("blockdev-close-tray", {"device": "d0"}, "not removable")],
    "blockdev-remove-medium": [good("blockdev-remove-medium", {"device": "cd0"}, {}),
                               bad("blockdev-remove-medium", {"device": "d0"}, "not removable")],
    "blockdev-insert-medium": [bad("blockdev-insert-medium", {"id": "nope", "node-name": "n"}, "'nope' not found",
                                   kind="DeviceNotFound")],
    "blockdev-change-medium": [
        good("blockdev-change-medium", {"device": "cd0", "filename": "some-file", "format": "raw"}, {}),
        good("query-block", gives=[{"device": "cd0", "inserted": {"ro": True, "drv": "raw", "file": "some-file"}}]),
        bad("blockdev-change-medium", {"device": "cd0", "filename": "/no/such"}, "No such file"),
        good("blockdev-remove-medium", {"device": "cd0"}, {})],
    "eject": [good("blockdev-change-medium", {"device": "cd0", "filename": "some-file", "format": "raw"}),
              good("eject", {"device": "cd0"}, {}), bad("eject", {"device": "d0"}, "not removable")],
    "block_set_io_throttle": [
        good("block_set_io_throttle", {"device": "d0", "bps": 0, "bps_rd": 0, "bps_wr": 0, "iops": 50, "iops_rd": 0,
                                       "iops_wr": 0, "iops_max": 100}, {}),
        good("query-block", gives=[{"device": "d0", "inserted": {"iops": 50, "iops_max": 100, "group": "d0"}}]),
        bad("block_set_io_throttle", {"device": "d0", "bps": 1, "bps_rd": 1, "bps_wr": 0, "iops": 0, "iops_rd": 0,
                                      "iops_wr": 0}, "cannot be used at the same time")],
    "query-block": [good("query-block", gives=[{"device": "cd0", "removable": True},
                                               {"device": "d0", "inserted": {"drv": "raw"}}])],
    "query-blockstats": [good("query-blockstats", {"query-nodes": True}, [{"node-name": "below"}]),
                         good("query-blockstats", {}, [{"device": "d0", "stats": {"rd_bytes": 0}}]),
                         bad("query-blockstats", {"query-nodes": 1}, "Invalid parameter type")],
    "query-chardev": [good("query-chardev", gives=[{"label": "ring", "filename": "ringbuf", "frontend-open": False}])],
    "query-chardev-backends": [good("query-chardev-backends", gives=[{"name": "socket"}, {"name": "ringbuf"}])],
    "query-command-line-options": [
        good("query-command-line-options", {"option": "smp-opts"},
             [{"option": "smp-opts", "parameters": [{"name": "cpus"}]}]),
        bad("query-command-line-options", {"option": "nope"}, "invalid option name: nope")],
    "query-commands": [good("query-commands", gives=[{"name": "query-commands"}])],
    "query-cpu-definitions": [good("query-cpu-definitions", gives=[{"name": "qemu64"}, {"name": "max"}])],
    "query-cpu-model-expansion": [
        good("query-cpu-model-expansion", {"type": "static", "model": {"name": "max"}},
             {"model": {"props": {"sse2": True}}}),
        bad("query-cpu-model-expansion", {"type": "full", "model": {"name": "nope"}}, "'nope' not found")],
    "balloon": [bad("balloon", {"value": 1 << 25}, "No balloon device", kind="DeviceNotActive"),
                good("device_add", {"driver": "virtio-balloon-pci"}), good("balloon", {"value": 1 << 25}, {})],
    "query-balloon": [bad("query-balloon", {}, "No balloon device", kind="DeviceNotActive"),
                      good("device_add", {"driver": "virtio-balloon-pci"}),
                      good("query-balloon", gives={"actual": 64 << 20})],
    "query-cpus-fast": [good("query-cpus-fast", gives=[{"cpu-index": 0, "target": "x86_64"}, {"cpu-index": 1}])],
    "query-current-machine": [good("query-current-machine", gives={"wakeup-suspend-support": True})],
    "query-display-options": [good("query-display-options", gives={"type": "none"})],
    "query-hotpluggable-cpus": [good("query-hotpluggable-cpus",
                                     gives=[{"props": {"core-id": 1}}, {"props": {"core-id": 0}}])],
    "query-iothreads": [good("query-iothreads", gives=[{"id": "io0", "poll-max-ns": 32768}])],
    "query-kvm": [good("query-kvm", gives={"enabled": False, "present": True})],
    "query-machines": [good("query-machines", gives=[{"name": "pc-i440fx-7.2", "alias": "pc"}, {"alias": "q35"}])],
    "query-memdev": [good("query-memdev", gives=[{"id": "ram1", "size": 1 << 20}])],
    "query-memory-devices": [good("query-memory-devices", gives=nothing)],
    "query-memory-size-summary": [good("query-memory-size-summary", gives={"base-memory": 64 << 20})],
    "query-name": [good("query-name", gives={"name": "g"})],
    "query-named-block-nodes": [good("query-named-block-nodes", {"flat": True},
                                     [{"node-name": "below", "drv": "null-co"}]),
                                bad("query-named-block-nodes", {"flat": "x"}, "Invalid parameter type")],
    "query-pci": [good("query-pci", gives=[{"bus": 0, "devices": [{"slot": 0}, {"slot": 1}]}])],
    "query-qmp-schema": [good("query-qmp-schema", gives=[{"name": "query-qmp-schema", "meta-type": "command"}])],
    "query-rx-filter": [good("query-rx-filter", gives=nothing),
                        bad("query-rx-filter", {"name": "nope"}, "invalid net client name")],
    "announce-self": [good("announce-self", {"initial": 50, "max": 550, "rounds": 2, "step": 10}, {}),
                      good("announce-self", {"initial": 0, "max": 0, "rounds": 3, "step": 0, "interfaces": ["nope"],
                                             "id": "a/b"},
                           {}),
                      bad("announce-self", {"initial": 50, "max": 550, "rounds": -1, "step": 10},
                          "'rounds' expects a value")],
    "netdev_add": [good("netdev_add", {"type": "user", "id": "n0", "hostfwd": [{"str": "tcp:127.0.0.1:0-:22"}]}, {}),
                   bad("netdev_add", {"type": "user", "id": "n0"}, "already"),
                   bad("netdev_add", {"type": "nope", "id": "n1"}, "does not accept value 'nope'"),
                   bad("netdev_add", {"type": "tap", "id": "n1", "fd": "nope"}, "'nope' not found"),
                   bad("netdev_add", {"type": "user", "id": "n1", "net": "fish"}, "not an IPv4 address")],
    "netdev_del": [good("netdev_add", {"type": "hubport", "id": "n0", "hubid": 3}, {}),
                   good("netdev_del", {"id": "n0"}, {}),
                   bad("netdev_del", {"id": "n0"}, "Device 'n0' not found", kind="DeviceNotFound")],
    "set_link": [good("netdev_add", {"type": "hubport", "id": "n0", "hubid": 3}, {}),
                 good("set_link", {"name": "n0", "up": False}, {}),
                 bad("set_link", {"name": "nope", "up": False}, "Device 'nope' not found", kind="DeviceNotFound")],
    "query-stats": [good("query-stats", {"target": "vcpu"}, [{"provider": "tcg", "stats": [{"name": "tlb-flushes"}]}]),
                    good("query-stats", {"target": "vm"}, [{"provider": "tcg"}]),
                    bad("query-stats", {"target": "nope"}, "does not accept value 'nope'")],
    "query-stats-schemas": [good("query-stats-schemas", {"provider": "tcg"}, [{"target": "vm"}, {"target": "vcpu"}]),
                            bad("query-stats-schemas", {"provider": "x"}, "does not accept value 'x'")],
    "query-status": [good("query-status", gives={"status": "prelaunch", "running": False})],
    "query-target": [good("query-target", gives={"arch": "x86_64"})],
    "query-tpm-models": [good("query-tpm-models", gives=nothing)],
    "query-tpm-types": [good("query-tpm-types", gives=nothing)],
    "query-uuid": [good("query-uuid", gives={"UUID": UUID})],
    "query-version": [good("query-version", gives={"qemu": {"major": 7, "minor": 2}})],
    "query-yank": [good("query-yank", gives=[{"type": "chardev", "id": "compat_monitor0"}])],
    "yank": [good("chardev-add", {"id": "peer", "backend": {"type": "socket", "data": {
                 "server": False, "addr": {"type": "unix", "data": {"path": "listener"}}}}}),
             good("yank", {"instances": [{"type": "chardev", "id": "peer"}]}, {}),
             bad("yank", {"instances": [{"type": "chardev", "id": "spare"}]}, "Instance not found",
                 kind="DeviceNotFound")],
    "quit": [good("quit", gives={})],
    "ringbuf-write": [good("ringbuf-write", {"device": "ring", "data": "aGVsbG8=", "format": "base64"}, {}),
                      good("ringbuf-read", {"device": "ring", "size": 64}, "hello"),
                      bad("ringbuf-write", {"device": "spare", "data": "x"}, "not a ringbuf device")],
    "ringbuf-read": [good("ringbuf-write", {"device": "ring", "data": "hello"}),
                     good("ringbuf-read", {"device": "ring", "size": 4}, "hell"),
                     bad("ringbuf-read", {"device": "ring", "size": -1}, "greater than zero"),
                     bad("ringbuf-read", {"device": "nope", "size": 1}, "'nope' not found")],
    "send-key": [good("send-key", {"keys": [{"type": "qcode", "data": "a"}, {"type": "number", "data": 28}]}, {}),
                 bad("send-key", {"keys": [{"type": "qcode", "data": "nope"}]}, "does not accept value 'nope'"),
                 bad("send-key", {"keys": [{"type": "number", "data": 0}]}, "from 1 to 255")],
    "screendump": [good("screendump", {"filename": "a.ppm"}, {}),
                   good("screendump", {"filename": "a.png", "format": "png"}, {}),
                   good("screendump", {"filename": "b.ppm", "device": "video", "head": 0, "format": "ppm"}, {}),
                   bad("screendump", {"filename": "/no/file.ppm"}, "Could not open '/no/file.ppm'"),
                   bad("screendump", {"filename": "/dev/full"}, "Could not write '/dev/full': No space"),
                   bad("screendump", {"filename": "a", "device": "nope"}, "'nope' not found", kind="DeviceNotFound"),
                   bad("screendump", {"filename": "a", "device": "/machine/i440fx"}, "has no screen"),
                   bad("screendump", {"filename": "a", "head": 0}, "'head' must be specified together with 'device'"),
                   bad("screendump", {"filename": "a", "device": "video", "head": 1}, "has no head 1"),
                   bad("screendump", {"filename": "a", "format": "gif"}, "does not accept value 'gif'")],
    "set-action": [good("set-action", {"panic": "none", "reboot": "shutdown"}, {}),
                   bad("set-action", {"panic": "nope"}, "does not accept value 'nope'")],
    "system_powerdown": [good("system_powerdown", gives={})],
    "system_reset": [good("system_reset", gives={})],
    "trace-event-get-state": [
        good("trace-event-get-state", {"name": "runstate_s*"},
             [{"name": "runstate_set", "state": "disabled", "vcpu": False}]),
        bad("trace-event-get-state", {"name": "nope"}, "unknown event")],
    "trace-event-set-state": [
        good("trace-event-set-state", {"name": "runstate_set", "enable": True}, {}),
        good("trace-event-get-state", {"name": "runstate_set"}, [{"state": "enabled"}]),
        bad("trace-event-set-state", {"name": "nope", "enable": True}, "unknown event"),
        bad("trace-event-set-state", {"name": "runstate_set", "enable": True, "vcpu": 7}, "not vCPU-specific")],
    # Right in every way, but there is nothing that it could do.
    "x-exit-preconfig": [bad("x-exit-preconfig", {}, "only before machine initialization")],
    "system_wakeup": [bad("system_wakeup", {}, "not in suspended state")],  # its success: test_wakeup, below
    "device_add": [good("device_add", {"driver": "edu", "id": "edu1", "addr": "1e.0"}, {}),
                   bad("device_add", {"driver": "edu", "id": "edu1"}, "Duplicate device ID 'edu1'"),
                   bad("device_add", {"driver": "edu", "bus": "nope"}, "Bus 'nope' not found"),
                   bad("device_add", {"driver": "nope"}, "not a valid device model name"),
                   bad("device_add", {"driver": "isa-serial", "id": "s"}, "does not support hotplugging")],
    # The guest stands, so it does not let the device go: tests/functional/test_hotplug.py has one that does.
    "device_del": [good("device_add", {"driver": "edu", "id": "edu2"}, {}), good("device_del", {"id": "edu2"}, {}),
                   bad("device_del", {"id": "nope"}, "'nope' not found", kind="DeviceNotFound")],
}
# These have no successful call in the table, for the reasons given there.
# blockdev-insert-medium: only devices have the id that it wants.
NEVER_SUCCEED = {"blockdev-insert-medium", "x-exit-preconfig", "system_wakeup"}
OTHERWISE = {"qmp_capabilities"}  # has a test of its own


def fits(value, wanted):
    """Objects have at least the wanted members, lists an element for each wanted one."""
    if callable(wanted):
        return wanted(value)
    if isinstance(wanted, dict):
        return isinstance(value, dict) and all(key in value and fits(value[key], item) for key, item in wanted.items())
    if isinstance(wanted, list):
        return isinstance(value, list) and all(any(fits(one, item) for one in value) for item in wanted)
    return value == wanted


@pytest.fixture(name="folder")
def in_a_folder(tmp_path, monkeypatch):
    """File names in the table are relative; so is the program's own, if it was."""
    monkeypatch.setattr(emu, "BINARY", os.path.abspath(emu.BINARY))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(name="listener")
def make_listener(folder):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "listener"))
        server.listen()
        yield server


@pytest.mark.parametrize("row", ROWS)
def test_qmp_command(row, folder, listener):
    steps = ROWS[row]
    with Machine(*MACHINE) as qmp, open(folder / "some-file", "w+b") as file:
        with_arguments = any(arguments for command, arguments, *_ in steps if command == row)
        if not with_arguments or not any(says for command, _, says, *_ in steps if command == row):
            assert qmp.refused(row, no_such_argument=1)["desc"] == "Parameter 'no-such-argument' is unexpected"
        for command, arguments, says, then, fd in steps:
            qmp.send(json.dumps({"execute": command, "arguments": arguments}), [file.fileno()] if fd else ())
            message = qmp.answer()
            if says is None:
                assert "return" in message, (command, arguments, message)
                assert fits(message["return"], then), (command, arguments, message["return"], then)
            else:
                assert "error" in message, (command, arguments, message)
                assert re.search(re.escape(says), message["error"]["desc"]), (command, arguments, message)
                assert message["error"]["class"] == then, (command, arguments, message)


def test_every_qmp_command_has_right_and_wrong_calls():
    with Machine("-machine", "none") as qmp:
        there = {command["name"] for command in qmp.command("query-commands")}
    assert there - OTHERWISE == set(ROWS), "a row for each, and none for what is gone"
    for name, steps in ROWS.items():
        own = [step for step in steps if step[0] == name]
        assert any(step[2] is None for step in own) or name in NEVER_SUCCEED, f"{name} has no right call"


def test_negotiation():
    with Machine("-machine", "none", negotiate=False) as qmp:
        assert qmp.refused("query-status")["class"] == "CommandNotFound"
        assert "does not accept value 'x'" in qmp.refused("qmp_capabilities", enable=["x"])["desc"]
        assert qmp.command("qmp_capabilities", enable=["oob"]) == {}
        assert qmp.refused("qmp_capabilities")["class"] == "CommandNotFound"


def test_wakeup(folder):
    """Suspended by qtest, as an operating system does it: PIIX4's power management base, then SLP_TYP 1 and SLP_EN."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "qtest"))
        server.listen()
        with Machine("-machine", "pc", "-accel", "qtest", "-qtest", f"unix:{folder}/qtest") as qmp:
            connection, _ = server.accept()
            with connection, connection.makefile("rw") as qtest:
                for line in ("outl 0xcf8 0x80000b40", "outl 0xcfc 0x601", "outl 0xcf8 0x80000b80", "outl 0xcfc 1",
                             "outw 0x604 0x2400"):
                    qtest.write(line + "\n")
                    qtest.flush()
                    assert qtest.readline() == "OK\n"
                qmp.wait_event("SUSPEND")
                assert qmp.command("query-status")["status"] == "suspended"
                assert qmp.command("system_wakeup") == {}
                qmp.wait_event("WAKEUP")
                assert qmp.command("query-status")["status"] == "running"
