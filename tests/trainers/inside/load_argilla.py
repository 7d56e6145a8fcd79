"""Loads a folder into the Argilla server at a port and prints what it is there: load_argilla.py PORT FOLDER."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import argilla

port, folder = sys.argv[1:]
client = argilla.Argilla(api_url=f"http://127.0.0.1:{port}", api_key="argilla.apikey")
dataset = argilla.Dataset.from_disk(folder, workspace="argilla", client=client)
records = [argilla.Record.from_dict(record) for record in json.loads((Path(folder) / "records.json").read_text())]
answer = {
    "name": dataset.name,
    "fields": {field.name: field.type for field in dataset.settings.fields},
    "questions": [question.name for question in dataset.settings.questions],
    "metadata": [entry.name for entry in dataset.settings.metadata],
    "same": [record.to_dict() for record in records] == json.loads((Path(folder) / "records.json").read_text()),
}
sys.stdout.write(json.dumps(answer))
