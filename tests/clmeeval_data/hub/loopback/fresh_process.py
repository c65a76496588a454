"""A user's side of a Hub on loopback: fresh processes that know it, with caches of their own that are empty."""

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

ROOT = Path(__file__).parents[4]
# runs clmeeval-build publish with each list of arguments, in turn
PUBLISH = """
import json, sys
import typer
from clmeeval_data.builders.publish_command import add_to
from clmeeval_data.shell import run_app

app = typer.Typer(pretty_exceptions_enable=False)
add_to(app)
app.command("other")(lambda: None)
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["clmeeval-build", "publish", *arguments]
    try:
        run_app(app)
    except SystemExit as ended:
        print("exit", ended.code, flush=True)
"""
# ends a script that has read Parquet: Arrow's threads may let go of a Python file while the interpreter is taken down,
# which now and then aborts a process that has done all of its work (apache/arrow#45214, huggingface/datasets#7357)
LEAVE = """
import os
sys.stdout.flush()
os._exit(0)
"""
# reads datasets in each of the ways that are asked for: {key: [arguments, options]}
READ = (
    """
import json, sys
from datasets import load_dataset

found = {}
for key, (arguments, options) in json.loads(sys.argv[1]).items():
    loaded = load_dataset(*arguments, **options)
    found[key] = {name: list(rows) for name, rows in loaded.items()} if isinstance(loaded, dict) else list(loaded)
json.dump(found, sys.stdout)
"""
    + LEAVE
)
# the sha256 of each split, as the manifest of a build has it: {key: [arguments, options]}
HASHES = (
    """
import json, sys
from datasets import load_dataset
from clmeeval_data.storage import content_hash

found = {}
for key, (arguments, options) in json.loads(sys.argv[1]).items():
    loaded = load_dataset(*arguments, **options)
    found[key] = {name: content_hash(rows) for name, rows in loaded.items()}
json.dump(found, sys.stdout)
"""
    + LEAVE
)
# runs clmeeval-leaderboard
LEADERBOARD = """
import json, sys
from clmeeval_data.evaluation.leaderboard import main

sys.argv = ["clmeeval-leaderboard", *json.loads(sys.argv[1])]
main()
"""


def in_fresh_process(home, url, code, *arguments, token="", xet=False):
    """Run Python with the Hub at an address, in a new folder below ``home``; the token must not be printed."""
    folder = home / uuid.uuid4().hex
    folder.mkdir(parents=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING_FACE"))}
    hub = {"HF_ENDPOINT": url, "HF_HOME": str(folder), "HF_HUB_DISABLE_TELEMETRY": "1"}
    hub["HF_HUB_DISABLE_XET"] = "0" if xet else "1"
    environment = {
        **kept,
        **hub,
        "PYTHONPATH": str(ROOT),
        "HF_DATASETS_CACHE": str(folder / "datasets"),
        **({"HF_TOKEN": token} if token else {}),
    }
    command = [sys.executable, "-c", code, *(json.dumps(argument) for argument in arguments)]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=250
    )
    assert not token or token not in done.stdout + done.stderr
    return done
