"""One thread: the models here are so small that more of them only wait for each other."""

import atexit
import os
import shutil
import tempfile

os.environ["PREFGEN_CACHE"] = tempfile.mkdtemp(prefix="prefgen-tests-")  # proofs of the models here
atexit.register(shutil.rmtree, os.environ["PREFGEN_CACHE"], ignore_errors=True)
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
