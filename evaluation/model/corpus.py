"""Texts for key statistics, one at a time: the training cases, a file, a built dataset, or a stream from the Hub."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from clmeeval_data import storage
from clmeeval_data.errors import ConfigError, DatasetError, SourceError

if TYPE_CHECKING:
    from clmeeval_data.evaluation.model.lm import LanguageModel

TRAIN = "train"
COLUMNS = ("text", "code", "content", "whole_func_string")  # where rows have their text, in the order of preference
SUFFIXES = (".txt", ".py", ".jsonl", ".jsonl.gz", ".parquet")
LONGEST_TEXT = 4096  # tokens: what attention needs for one text grows with the square of its length
WINDOW_TOKENS = 32768  # sorted by length together
BATCH_TOKENS = 4096  # read together, padding included
_HUB_ID = re.compile(r"(?P<name>[\w-][\w.-]*(/[\w-][\w.-]*)?)(/(?P<config>[\w-][\w.-]*))?")


@dataclass(frozen=True, eq=False)
class Corpus:
    """Texts that are read one at a time, as often as wanted and always in the same order.

    ``name``: for people. ``digest``: hexadecimal; another one for other texts. ``read``: begins a new reading.
    """

    name: str
    digest: str
    read: Callable[[], Iterator[str]]

    def texts(self) -> Iterator[str]:
        """The texts from the first one on. The iterator raises SourceError where the data turn out to be damaged."""
        return self.read()


class Window(NamedTuple):
    """Consecutive texts as token ids, and how many texts they were, those without tokens included."""

    ids: list[list[int]]
    texts: int


def corpus_of_texts(name: str, texts: Sequence[str]) -> Corpus:
    """A corpus of texts that are in memory already."""
    kept = tuple(texts)
    digest = hashlib.sha256()
    for text in kept:
        content = text.encode("utf-8", "surrogatepass")
        digest.update(b"%d:%s" % (len(content), content))
    return Corpus(name, digest.hexdigest(), partial(iter, kept))


def open_corpus(location: str, default: Sequence[str]) -> Corpus:
    """The corpus at a location. A file or a folder that exists comes before a dataset of the Hub.

    - ``train``: the ``default`` texts.
    - ``FILE.txt``: a text per line.
    - ``FILE.py``: one text, the whole file.
    - ``FILE.jsonl``, ``FILE.jsonl.gz``, ``FILE.parquet``: a text per row, in the first of ``COLUMNS`` that there is.
    - a folder made by clmeeval-build: prompt and target of every case of its training split.
    - ``ID[:SPLIT[:COLUMN]]``: a dataset of the Hub, streamed; the training split and the first of ``COLUMNS`` unless
      named. ``OWNER/NAME/CONFIG`` takes one of several configurations.

    Blank lines and rows without text are left out. The digest is of the file's content, of the built split's, or of
    the Hub's id, commit, split and column.

    Raises:
        ConfigError: If the location is none of these.
        SourceError: If the file or dataset cannot be read.
        DatasetError: If a folder was not made by clmeeval-build.
    """
    path = Path(location)
    if location == TRAIN:
        return corpus_of_texts(TRAIN, default)
    if location and path.is_dir():
        return _of_folder(path)
    if location and path.is_file():
        return _of_file(path)
    name, split, column = [*location.split(":", 2), "", ""][:3]
    found = _HUB_ID.fullmatch(name)
    if not found or location.endswith(SUFFIXES) or ":" in column:
        raise ConfigError(
            f"no corpus {location!r}: there is no such file or folder. Expected 'train', a file "
            f"({', '.join(SUFFIXES)}), a folder made by clmeeval-build, or a dataset of the Hub as id[:split[:column]]."
        )
    return _of_hub(found["name"], found["config"], split or TRAIN, column or None)


def windows_of(lm: "LanguageModel", texts: Iterable[str], budget: int) -> Iterator[Window]:
    """A stream of texts in parts of about ``WINDOW_TOKENS``, cut after ``budget`` tokens; a function of these alone.

    A text is read without special tokens, and cut at the model's context or ``LONGEST_TEXT`` tokens.
    """
    longest = min(lm.context_length, LONGEST_TEXT)
    ids: list[list[int]] = []
    count = size = 0
    for text in texts if budget > 0 else ():
        sound = text.encode("utf-8", "replace").decode()  # tokenizers refuse lone surrogates
        read = lm.tokenizer(sound, add_special_tokens=False, verbose=False).input_ids[: min(longest, budget - size)]
        ids.extend([list(read)] if read else [])
        count, size = count + 1, size + len(read)
        if size >= min(WINDOW_TOKENS, budget):
            yield Window(ids, count)
            budget -= size
            ids, count, size = [], 0, 0
        if not budget:
            return
    if count:
        yield Window(ids, count)


def batches_of(ids: Sequence[list[int]]) -> Iterator[list[list[int]]]:
    """Texts of similar length together, longest first, as many as make ``BATCH_TOKENS`` with their padding."""
    ordered = sorted(ids, key=len, reverse=True)
    while ordered:
        rows = max(1, BATCH_TOKENS // len(ordered[0]))
        yield ordered[:rows]
        ordered = ordered[rows:]


def _of_file(path: Path) -> Corpus:
    suffix = next((suffix for suffix in SUFFIXES if path.name.endswith(suffix)), None)
    if suffix is None:
        raise ConfigError(f"the corpus {path} is of an unknown kind. Expected a name that ends in {_either(SUFFIXES)}.")
    try:
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SourceError(f"the corpus {path} cannot be read: {error.strerror or error}.") from error
    if suffix in {".txt", ".py"}:
        read = partial(_lines_of, path) if suffix == ".txt" else partial(_whole, path)
    else:
        rows = partial(_parquet_rows, path, None) if suffix == ".parquet" else partial(storage.read_jsonl, path)
        read = partial(_texts_of, rows, str(path), None)
    return Corpus(path.name, _digest_of("file", suffix.removesuffix(".gz"), content), read)


def _of_folder(folder: Path) -> Corpus:
    benchmark, manifest = storage.benchmark_of(folder), storage.read_manifest(folder)
    try:
        content = str(manifest["splits"][TRAIN]["sha256"])
    except (KeyError, TypeError):
        raise DatasetError(f"the manifest of {folder} has no hash of the training split. Build it again.") from None
    fields = [benchmark.prompt_field, benchmark.target_field]

    def texts() -> Iterator[str]:
        for row in _parquet_rows(storage.parquet_path(folder, TRAIN), fields):
            yield f"{benchmark.prompt(row[fields[0]])} {row[fields[1]]}"

    return Corpus(folder.name, _digest_of("built", benchmark.name, content), texts)


def _of_hub(name: str, config: str | None, split: str, column: str | None) -> Corpus:
    import datasets

    where = f"{name}{f'/{config}' if config else ''}:{split}"
    unreadable = (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError)

    def refusal(error: Exception) -> SourceError:
        reason = " ".join(str(error).split()).rstrip(".")
        return SourceError(
            f"the corpus {where} is no file or folder here, and cannot be read from the Hub: {reason}. "
            "Check the path, or the id, its split and the connection."
        )

    try:
        builder = datasets.load_dataset_builder(name, config)  # what load_dataset does, but it also tells the commit
        stream = builder.as_streaming_dataset(split=split)
    except unreadable as error:
        raise refusal(error) from error

    def rows() -> Iterator[Mapping[str, Any]]:
        try:
            yield from stream
        except unreadable as error:
            raise refusal(error) from error

    digest = _digest_of("hub", name, config or "", str(builder.hash), split, column or "")
    return Corpus(f"{where}{f':{column}' if column else ''}", digest, partial(_texts_of, rows, where, column))


def _lines_of(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8") as file:
            yield from (line.rstrip("\n") for line in file if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"the corpus {path} cannot be read as UTF-8 text: {error}.") from error


def _whole(path: Path) -> Iterator[str]:
    try:
        yield path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"the corpus {path} cannot be read as UTF-8 text: {error}.") from error


def _parquet_rows(path: Path, columns: list[str] | None) -> Iterator[dict[str, Any]]:
    """The rows of a parquet file, a thousand in memory at a time; the column with texts unless others are named."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            wanted = columns or [_column_of(file.schema_arrow.names, str(path), None)]
            for batch in file.iter_batches(batch_size=1000, columns=wanted):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise SourceError(f"{path} is missing or damaged ({reason}). Get the file again.") from error


def _texts_of(rows: Callable[[], Iterable[Mapping[str, Any]]], where: str, column: str | None) -> Iterator[str]:
    found = None
    for row in rows():
        found = found or _column_of(list(row), where, column)
        text = row.get(found)
        if not isinstance(text, str | None):
            raise SourceError(f"the column {found!r} of {where} holds {type(text).__name__} values, expected text.")
        if text:
            yield text


def _column_of(names: Sequence[str], where: str, asked: str | None) -> str:
    wanted = (asked,) if asked else COLUMNS
    found = next((name for name in wanted if name in names), None)
    if found is None:
        raise SourceError(
            f"{where} has no column {_either(wanted)}, but {', '.join(names)}. "
            "Rename one; of a dataset of the Hub name one as id:split:column."
        )
    return found


def _digest_of(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _either(names: Sequence[str]) -> str:
    return " or ".join(names)
