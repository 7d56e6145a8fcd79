"""One thread: the models here are so small that more of them only wait for each other."""

import atexit
import gc
import os
import shutil
import tempfile

import pytest

os.environ["PREFGEN_CACHE"] = tempfile.mkdtemp(prefix="prefgen-tests-")  # proofs of the models here
atexit.register(shutil.rmtree, os.environ["PREFGEN_CACHE"], ignore_errors=True)
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(autouse=True, scope="module")
def _imported_modules_are_no_garbage() -> None:
    """Leave what lives when a file's tests begin out of collections: a full one takes half a second beside torch."""
    gc.collect()
    gc.freeze()
