"""A release read through olah, an implementation of the Hub's read side that others wrote.

It gets an environment of its own, once per session; or OLAH names its olah-cli.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time

import pytest

from clmeeval_data import storage
from clmeeval_data.records import CNLE, SPLITS
from tests.clmeeval_data.hub.loopback.fresh_process import PUBLISH

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]

INSTALL = ["-m", "pip", "install", "--quiet", "--retries", "1", "--timeout", "20", "olah"]


@pytest.fixture(scope="session")
def olah_program(tmp_path_factory):
    """The program olah-cli: that of OLAH, or the one on the path, or one that is installed for this session."""
    found = os.environ.get("OLAH") or shutil.which("olah-cli")
    if found:
        return found
    folder = tmp_path_factory.mktemp("olah") / "environment"
    for command in ([sys.executable, "-m", "venv", str(folder)], [str(folder / "bin" / "python"), *INSTALL]):
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            pytest.skip(f"olah cannot be installed here ({reason}); set OLAH to an olah-cli that is")
    return str(folder / "bin" / "olah-cli")


@pytest.fixture
def olah(tmp_path, olah_program):
    """Serve git repositories below tmp_path/mirrors with olah; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    basic = {"host": "127.0.0.1", "port": port, "mirror-netloc": f"127.0.0.1:{port}"}
    basic |= {"mirror-lfs-netloc": f"127.0.0.1:{port}", "mirrors-path": [str(tmp_path / "mirrors")]}
    basic |= {"repos-path": str(tmp_path / "olah" / "repos"), "log-path": str(tmp_path / "olah" / "logs")}
    lines = [f"{name} = {json.dumps(value)}" for name, value in basic.items()]
    (tmp_path / "olah.toml").write_text("\n".join(["[basic]", *lines, "[accessibility]", "offline = true", ""]))
    with (tmp_path / "olah.log").open("w") as log:
        command = [olah_program, "--config", str(tmp_path / "olah.toml"), "--host", "127.0.0.1", "--port", str(port)]
        server = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_for(port, server)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(20)


def wait_for(port, server):
    """Until a server listens."""
    for _ in range(600):
        assert server.poll() is None, "the server has ended"
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError(f"nobody listens at {port}")


def committed(repo, files):
    """A git repository with one commit of some files, tagged v1.0.0."""
    for path, body in files.items():
        if path != ".gitattributes":  # olah does not read large files
            (repo / path).parent.mkdir(parents=True, exist_ok=True)
            (repo / path).write_bytes(body)
    for command in ("init -q -b main", "add .", "commit -q -m release", "tag v1.0.0"):
        author = ["-c", "user.name=a", "-c", "user.email=a@localhost"]
        subprocess.run(["git", *author, *command.split()], cwd=repo, check=True, capture_output=True)


def test_a_release_loads_through_another_implementation_of_the_hub(
    client, read, served, olah, tmp_path, cnle_folder, writer
):
    command = [str(cnle_folder), "--repo", "clmeeval/cnle"]
    published = client(PUBLISH, [command, [*command, "--config", "sample"]], token=writer)
    assert published.stdout.count("exit 0") == 2, published.stderr
    committed(tmp_path / "mirrors" / "datasets" / "clmeeval" / "cnle", served.repos["clmeeval/cnle"].head.files)
    served.asked.clear()
    found = read(
        olah,
        whole=[["clmeeval/cnle"], {}],
        split=[["clmeeval/cnle"], {"split": "validation"}],
        sample=[["clmeeval/cnle", "sample"], {"split": "train", "revision": "v1.0.0"}],
        stream=[["clmeeval/cnle"], {"split": "test", "streaming": True}],
    )
    paths = {split: storage.parquet_path(cnle_folder, split) for split in SPLITS}
    built = {split: storage.read_parquet(path, CNLE) for split, path in paths.items()}
    assert found == {"whole": built, "split": built["validation"], "sample": built["train"], "stream": built["test"]}
    assert served.asked == []
