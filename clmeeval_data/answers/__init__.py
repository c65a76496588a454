"""What an unedited model answers to the cases of a dataset, as a further configuration of it: ``answers-<model>``.

    answers-<model>/data/<split>-00000-of-00001.parquet   one row per case
                    manifest.json                         which model answered, how, and to which dataset
                    README.md                             the card, which load_dataset and the Hub read

The evaluation takes these answers instead of asking the model again, where model, precision and decoding are the same.
"""

from clmeeval_data.answers.form import PREFIX, Answer, Answering, CaseAnswers, config_name, is_answers
from clmeeval_data.answers.storing import (
    AnswersManifest,
    check_answers,
    parse_manifest,
    read_answers,
    read_manifest,
    read_rows,
    write_answers,
)

__all__ = [
    "PREFIX",
    "Answer",
    "Answering",
    "AnswersManifest",
    "CaseAnswers",
    "check_answers",
    "config_name",
    "is_answers",
    "parse_manifest",
    "read_answers",
    "read_manifest",
    "read_rows",
    "write_answers",
]
