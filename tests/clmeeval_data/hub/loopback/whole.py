"""A whole benchmark through a Hub on loopback: from its folder to a fresh process."""

import json

from clmeeval_data import storage
from tests.clmeeval_data.hub.loopback.fresh_process import HASHES, PUBLISH, in_fresh_process
from tests.clmeeval_data.hub.loopback.repositories import WRITER


def check_loads_as_built(folder, hub, home):
    """Publish a folder under a tag; what ``load_dataset`` then gives has the hashes that the build wrote down."""
    manifest = storage.read_manifest(folder)
    repo = f"clmeeval/{manifest['benchmark']}"
    command = [str(folder.resolve()), "--repo", repo, "--tag", "v1.0.0"]
    published = in_fresh_process(home, hub.url, PUBLISH, [command], token=WRITER)
    assert published.stdout.count("exit 0") == 1, published.stderr
    loaded = in_fresh_process(home, hub.url, HASHES, {"tagged": [[repo], {"revision": "v1.0.0"}]})
    assert loaded.returncode == 0, loaded.stderr
    assert json.loads(loaded.stdout) == {
        "tagged": {split: about["sha256"] for split, about in manifest["splits"].items()}
    }
