"""Checks of commands that are shown and not run."""

from __future__ import annotations

import re

from prefgen.cli.commands import load


def check_options(words: list[str]) -> None:
    """A command exists, takes the options that it is given, and gets those that it needs."""
    command, rest = load(words[0]), words[1:]
    while (inner := getattr(command, "commands", None)) and rest:
        assert rest[0] in inner, words
        command, rest = inner[rest[0]], rest[1:]
    known = {flag for each in command.params for flag in (*each.opts, *each.secondary_opts)}
    given = {word.partition("=")[0] for word in rest if re.match(r"--?[a-z]", word)}
    assert given <= known | {"--help"}, words
    needed = [each for each in command.params if each.required and each.param_type_name == "option"]
    assert not [each.name for each in needed if not given & set(each.opts)], words
