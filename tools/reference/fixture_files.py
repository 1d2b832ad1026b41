"""Where fixtures are and how their files are written, for all scripts here."""

import json
import re
import sys
from pathlib import Path

# Fixtures of the model crate.
MODEL_FIXTURES = Path(__file__).resolve().parents[2] / "crates/laminar-model/tests/fixtures"
# Token ids in a checkpoint's reference.
TOKENS = 40


def arguments():
    """`[OUT] [NAME ...]`: the folder to write to, and what to write, or nothing for all."""
    names = sys.argv[1:]
    given = names and ("/" in names[0] or names[0] == ".")
    return Path(names.pop(0)) if given else MODEL_FIXTURES, names


def write_config(folder, config):
    (folder / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")


def finish(folder):
    """Makes the files of a folder readable for all; their bytes together."""
    for file in folder.iterdir():
        file.chmod(0o644)
    return sum(file.stat().st_size for file in folder.iterdir())


def write_rows(path, data):
    """JSON with each array of numbers on one line, which keeps differences readable."""
    text = json.dumps(data, indent=1)
    row = lambda found: re.sub(r"\s+", " ", found[0]).replace("[ ", "[").replace(" ]", "]")
    path.write_text(re.sub(r"\[[\s\d.,eE+-]+\]", row, text) + "\n")
