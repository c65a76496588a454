"""The card of a configuration of answers: README.md with the metadata that ``load_dataset`` and the Hub read."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from clmeeval_data.answers.form import COLUMNS, FEATURES, config_name
from clmeeval_data.atomic import written_aside
from clmeeval_data.storage import parquet_path

Rows = Mapping[str, Sequence[Mapping[str, Any]]]


def write_card(folder: Path, manifest: Mapping[str, Any], rows: Rows) -> None:
    """Write README.md into a folder of answers that already holds its parquet files.

    Raises:
        OSError: If it cannot be written.
    """
    from datasets import DatasetInfo, Features, SplitDict, SplitInfo
    from datasets.info import DatasetInfosDict

    splits = SplitDict()
    for split, found in rows.items():
        size = sum(len(json.dumps(row, ensure_ascii=False).encode()) for row in found)
        splits.add(SplitInfo(name=split, num_bytes=size, num_examples=len(found)))
    info = DatasetInfo(
        features=Features.from_dict(FEATURES),
        splits=splits,
        download_size=sum(parquet_path(folder, split).stat().st_size for split in rows),
        dataset_size=sum(split.num_bytes for split in splits.values()),
    )
    with TemporaryDirectory() as drafts, written_aside(folder / "README.md") as aside:
        draft = Path(drafts) / "README.md"
        draft.write_text(render_card(manifest), encoding="utf-8")
        # datasets adds its own description of the columns and splits to the metadata that the template began
        DatasetInfosDict({"default": info}).write_to_directory(drafts)
        aside.write_bytes(draft.read_bytes())


def render_card(manifest: Mapping[str, Any]) -> str:
    """The text of a card, without the description of the columns in its metadata."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False
    )
    environment.filters["cell"] = lambda value: " ".join(str(value).split()).replace("<", "&lt;").replace("|", "\\|")
    template = environment.from_string(Path(__file__).with_name("card.md.jinja").read_text(encoding="utf-8"))
    name = config_name(manifest["answers"]["model"], manifest["answers"]["dtype"])
    return template.render(manifest=manifest, answers=manifest["answers"], columns=COLUMNS, config=name)
