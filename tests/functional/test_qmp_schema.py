# SPDX-License-Identifier: Apache-2.0
"""Each command that the schema lists, with right arguments and with every kind of wrong ones: made from the schema, so
that what it says is what handlers accept; and each answer is what the schema promises."""
import os
import tempfile

import pytest

from qmp import Machine

# What ends or stops the program, or waits for somebody: called, but last or in a machine of its own.
ENDS = {"quit"}


class Schema:
    def __init__(self, entities):
        self.entities = {entity["name"]: entity for entity in entities}
        self.commands = {e["name"]: e for e in entities if e["meta-type"] == "command"}

    def members(self, name):
        return self.entities[name]["members"]

    def example(self, name, folder, depth=0):
        """The least value that the type allows."""
        entity = self.entities[name]
        kind = entity["meta-type"]
        if kind == "builtin":
            return {"string": "x", "int": 1, "number": 1.5, "boolean": True, "value": 1}[entity["json-type"]]
        if kind == "enum":
            return entity["values"][0]
        if kind == "array":
            return []
        if kind == "alternate":
            return self.example(entity["members"][0]["type"], folder, depth + 1)
        made = {m["name"]: self.example(m["type"], folder, depth + 1) for m in entity["members"] if "default" not in m}
        for key in ("filename", "file", "out"):
            if key in made:
                made[key] = os.path.join(folder, "file")
        if "protocol" in made:
            made["protocol"] = "file:" + os.path.join(folder, "core")
        for variant in entity.get("variants", []):
            if made.get(entity["tag"]) == variant["case"]:
                made.update(self.example(variant["type"], folder, depth + 1))
        return made

    def check(self, value, name, where):
        """Fails unless `value` is of the type."""
        entity = self.entities[name]
        kind = entity["meta-type"]
        if kind == "builtin":
            python = {"string": str, "int": int, "number": (int, float), "boolean": bool, "value": object,
                      "null": type(None)}[entity["json-type"]]
            assert isinstance(value, python) and (python is bool or not isinstance(value, bool)
                                                  or python is object), where
        elif kind == "enum":
            assert value in entity["values"], (where, value)
        elif kind == "array":
            assert isinstance(value, list), where
            for i, item in enumerate(value):
                self.check(item, entity["element-type"], f"{where}[{i}]")
        elif kind == "alternate":
            for member in entity["members"]:
                try:
                    self.check(value, member["type"], where)
                    return
                except AssertionError:
                    pass
            assert False, where
        else:
            assert isinstance(value, dict), where
            members = self.all_members(entity, value)
            for key, item in value.items():
                assert key in members, f"{where}.{key} is not in the schema"
                self.check(item, members[key]["type"], f"{where}.{key}")
            for key, member in members.items():
                assert key in value or "default" in member, f"{where}.{key} is missing"

    def all_members(self, entity, value):
        members = {m["name"]: m for m in entity["members"]}
        for variant in entity.get("variants", []):
            if value.get(entity["tag"]) == variant["case"]:
                members.update(self.all_members(self.entities[variant["type"]], value))
        return members

    def wrong(self, name):
        """A value that the type does not allow, or nothing if it allows all."""
        entity = self.entities[name]
        if entity["meta-type"] == "builtin":
            return {"string": 5, "int": "five", "number": "x", "boolean": "yes", "value": None}[entity["json-type"]]
        return {"enum": "no-such-value", "array": "x", "object": "x", "alternate": 1.5}[entity["meta-type"]]


@pytest.fixture(name="setup", scope="module")
def start():
    with tempfile.TemporaryDirectory() as folder, Machine("-S", "-m", "16") as qmp:
        yield qmp, Schema(qmp.command("query-qmp-schema")), folder


def is_about_arguments(error):
    return error["desc"].startswith(("Parameter '", "Invalid parameter type")) and "is missing" in error["desc"] or \
        error["desc"].startswith("Invalid parameter type") or error["desc"].endswith("is unexpected")


def test_right_arguments_are_taken_and_answers_keep_their_promise(setup):
    _, schema, _ = setup
    for name, command in schema.commands.items():
        # Each on a fresh machine would be slow; those that change how it runs come to a machine of their own.
        if name in ENDS or name in ("system_reset", "system_powerdown", "cont", "stop", "x-exit-preconfig",
                                    "qmp_capabilities"):
            continue
        qmp, _, folder = setup
        message = qmp.request(name, exactly=schema.example(command["arg-type"], folder))
        if "return" in message:
            schema.check(message["return"], command["ret-type"], name)
        else:
            assert not is_about_arguments(message["error"]), (name, message)
            assert message["error"]["class"] in ("GenericError", "DeviceNotFound", "CommandNotFound",
                                                 "DeviceNotActive"), (name, message)


@pytest.mark.parametrize("name", ["system_reset", "system_powerdown", "cont", "stop", "quit"])
def test_commands_that_change_how_the_machine_runs(name):
    with Machine("-S") as qmp:
        assert qmp.command(name) == {}


def test_an_argument_too_much_is_named(setup):
    qmp, schema, folder = setup
    for name, command in schema.commands.items():
        if name == "qmp_capabilities":
            continue
        entity = schema.entities[command["arg-type"]]
        arguments = schema.example(command["arg-type"], folder)
        error = qmp.refused(name, exactly=arguments, no_such_member=1)
        if name in ("object-add", "device_add", "netdev_add",
                    "blockdev-add"):  # the type that is named decides what is known
            continue
        assert "no-such-member" in error["desc"], (name, entity["name"], error)


def test_a_missing_argument_is_named(setup):
    qmp, schema, folder = setup
    missing = 0
    for name, command in schema.commands.items():
        arguments = schema.example(command["arg-type"], folder)
        for member in schema.members(command["arg-type"]):
            if "default" in member:
                continue
            without = {key: value for key, value in arguments.items() if key != member["name"]}
            error = qmp.refused(name, exactly=without)
            assert f"'{member['name']}'" in error["desc"], (name, error)
            missing += 1
    assert missing > 20


def test_an_argument_of_the_wrong_type_is_named(setup):
    qmp, schema, folder = setup
    wrong = 0
    for name, command in schema.commands.items():
        if name == "qmp_capabilities":
            continue
        arguments = schema.example(command["arg-type"], folder)
        for member in schema.members(command["arg-type"]):
            value = schema.wrong(member["type"])
            if value is None:
                continue
            error = qmp.refused(name, exactly={**arguments, member["name"]: value})
            assert member["name"] in error["desc"] or "no-such-value" in error["desc"], (name, member, error)
            wrong += 1
    assert wrong > 50


def test_arguments_that_are_no_object(setup):
    qmp, schema, _ = setup
    for name in schema.commands:
        qmp.send(f'{{"execute":"{name}","arguments":[1]}}')
        assert "must be an object" in qmp.answer()["error"]["desc"]


def test_every_type_that_is_named_is_there(setup):
    _, schema, _ = setup
    for entity in schema.entities.values():
        named = [entity.get(key) for key in ("arg-type", "ret-type", "element-type") if key in entity]
        named += [m["type"] for m in entity.get("members", []) if isinstance(m, dict) and "type" in m]
        named += [v["type"] for v in entity.get("variants", [])]
        for name in named:
            assert name in schema.entities, (entity["name"], name)
