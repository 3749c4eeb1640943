# SPDX-License-Identifier: Apache-2.0
"""CPU models on the real program, compared with QEMU's where it is installed."""
import json
import shutil
import subprocess

import emu
import pytest
from qmp import Machine

QEMU = shutil.which("qemu-system-x86_64")
NAMES = ("qemu64", "kvm64", "Nehalem", "Westmere", "SandyBridge", "IvyBridge", "Haswell", "Broadwell", "Skylake-Client",
         "Skylake-Server", "Icelake-Server", "EPYC", "EPYC-Rome")
# Ours besides: the interrupt controller's faster interface, freedom from flaws, and what says so.
OURS = {"x2apic", "hypervisor", "spec-ctrl", "arch-capabilities", "btc-no", "srso-no", "lfence-always-serializing",
        "rdctl-no", "ibrs-all", "skip-l1dfl-vmentry", "ssb-no", "mds-no", "pschange-mc-no", "taa-no", "bhi-no",
        "sbdr-ssdp-no", "fbsdp-no", "psdp-no", "pbrsb-no", "gds-no", "rfds-no", "its-no"}
IDENTITY = ("family", "model", "stepping", "vendor", "model-id", "level")


def expansions_of_qemu():
    """What QEMU says of each model, before it takes away what it cannot translate."""
    requests = [{"execute": "qmp_capabilities"}]
    requests += [{"execute": "query-cpu-model-expansion", "id": name,
                  "arguments": {"type": "full", "model": {"name": name}}} for name in NAMES]
    requests.append({"execute": "quit"})
    result = subprocess.run([QEMU, "-M", "none", "-nodefaults", "-display", "none", "-qmp", "stdio"],
                            input="\n".join(map(json.dumps, requests)), capture_output=True, text=True, timeout=60)
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    return {a["id"]: a["return"]["model"]["props"] for a in answers if a.get("id") and "return" in a}


@pytest.mark.skipif(not QEMU, reason="qemu-system-x86_64 is not installed")
def test_models_are_those_of_qemu():
    theirs = expansions_of_qemu()
    assert set(theirs) == set(NAMES)
    with Machine("-machine", "none") as qmp:
        rows = {row["name"]: row for row in qmp.command("query-cpu-definitions")}
        for name in NAMES:
            for spelling in (name, name + "-v1"):
                props = qmp.command("query-cpu-model-expansion", type="full",
                                    model={"name": spelling})["model"]["props"]
                for key in IDENTITY:
                    assert props[key] == theirs[name][key], (spelling, key, props[key], theirs[name][key])
                dropped = set(rows[spelling]["unavailable-features"])
                on = {feature for feature, value in props.items() if value is True}
                assert not on & dropped
                known = {feature for feature, value in props.items() if isinstance(value, bool)}
                wanted = {feature for feature in known if theirs[name].get(feature) is True}
                if name == "qemu64":
                    wanted.discard("svm")  # ours has none from the start: a warning at each start helps nobody
                if name.startswith("EPYC"):
                    # Guests would idle with MWAIT, which has to poll: docs/user/cpu-models.md
                    wanted.discard("monitor")
                assert (on | dropped) - OURS == wanted - OURS, (spelling, (on | dropped) ^ wanted)


def test_what_cannot_be_had_is_said_in_one_line_and_can_be_enforced():
    result = emu.run("-S", "-cpu", "Haswell", "-display", "none", "-monitor", "stdio", stdin="quit\n")
    lines = [line for line in result.stderr.splitlines() if "without" in line]
    assert len(lines) == 1 and "hle" in lines[0] and "rtm" in lines[0], result.stderr
    said = emu.refused("-cpu", "Haswell,enforce", "-display", "none")
    assert "hle" in said and "rtm" in said, said
    result = emu.run("-S", "-cpu", "Haswell,check=off", "-display", "none", "-monitor", "stdio", stdin="quit\n")
    assert "without" not in result.stderr, result.stderr


def test_wrong_names_are_answered_with_the_nearest():
    assert "'Haswell'" in emu.refused("-cpu", "Hasswell", "-display", "none")
    assert "'smap'" in emu.refused("-cpu", "Haswell,+smpa", "-display", "none")


def test_host_features_can_be_taken_away():
    result = emu.run("-S", "-accel", "tcg,host-features=-avx512", "-display", "none", "-monitor", "stdio",
                     stdin="quit\n")
    assert result.returncode == 0, result.stderr
    said = emu.refused("-accel", "tcg,host-features=-avx2:-bmi2", "-display", "none")
    assert "below x86-64-v3" in said and "it has no avx2, bmi2" in said, said
    assert "'avx512'" in emu.refused("-accel", "tcg,host-features=-avx51", "-display", "none")

