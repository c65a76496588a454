"""From intents to checked rewordings over a server with all its faults, and the command that is killed on its way."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import dataclass, replace
from importlib import resources

import pytest

from clmeeval_data import storage
from clmeeval_data.builders.chat import Chat
from clmeeval_data.builders.recipes import CNLE as RECIPE
from clmeeval_data.builders.rephrased import Task, rephrase_dataset
from clmeeval_data.llm import Usage
from clmeeval_data.paraphrase.checked import rephrase_checked
from clmeeval_data.paraphrase.engine import Rephrased, Setting, in_turn, later_seed
from clmeeval_data.records import CNLE, SPLITS, Rephrasing
from clmeeval_data.validate import check_dataset

SEED = 3
SEEDS = (SEED, later_seed(SEED, 1), later_seed(SEED, 2))
FOREIGN = "отсортировать список по длине строк и вывести его на экран, номер"
CHINESE = "请告诉我怎样用代码来实现下面这句话里面所描述的全部要求并且不要改变其中任何一个名字"


def intents():
    """A thousand intents with their answers, each of two of the packaged sample; fifty are in Russian."""
    text = (resources.files("clmeeval_data") / "samples" / "cnle.jsonl").read_text("utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    found = {}
    for number in range(950):
        one, other = rows[number % len(rows)], rows[(7 * number + number // len(rows) + 1) % len(rows)]
        found[f"{one['intent']}, then {other['intent']}"] = f"{one['snippet']}\n{other['snippet']}"
    return found | {f"{FOREIGN} {number}": f"print(sorted(rows_{number}, key=len))" for number in range(50)}


def reworded(prompt):
    return f"By what lines of Python code would somebody {prompt}"


def stated(text):
    return json.dumps({"rewritten": text})


@dataclass(frozen=True)
class Kind:
    """One kind of reply: how often it comes, what it says, and why it gives no rewording, "" where it gives one."""

    share: float
    says: object
    reason: str = ""
    finish: str = "stop"


KINDS = (
    Kind(45, lambda prompt: stated(reworded(prompt))),
    Kind(8, lambda prompt: f"Sure!\n```json\n{stated(reworded(prompt))}\n```"),
    Kind(8, lambda prompt: "I would rather not.", "not JSON"),
    Kind(6, lambda prompt: "", "empty"),
    Kind(6, lambda prompt: stated("and so on " * 40)[:-2], "cut off", "length"),
    Kind(6, lambda prompt: stated(None), "field 'rewritten' is null, not string"),
    Kind(8, lambda prompt: stated(f"Sure, here is the rewritten request: {prompt}"), "chat residue"),
    Kind(5, lambda prompt: stated(f"```\n{reworded(prompt)}\n```"), "in a code fence"),
    Kind(5, lambda prompt: stated(f"{CHINESE} {prompt}"), "another language: its letters"),
    Kind(3, stated, "the same text"),
)
HOPELESS = tuple(kind for kind in KINDS if kind.reason in ("not JSON", "empty", "cut off"))


def prompt_of(user):
    """The text between the two marked lines."""
    return re.search(r"===== (\w+)\n(.*)\n===== \1", user, re.S)[2]


class Plan:
    """What each request for a prompt hears in turn, as chosen by a seed, and what has to come of it."""

    def __init__(self, say, prompts):
        self._say, self._choose = say, random.Random(11)
        self.answers, self.refusals, self.wrong = {}, {}, []
        for number, prompt in enumerate(prompts):
            self.answers[prompt] = [(SEED, say.Say(trickle=True))] if number in (2, 3, 4) else []
            self._add(prompt)
        for answers in list(self.answers.values())[10:70]:  # so that requests meet
            answers[-1] = (answers[-1][0], replace(answers[-1][1], wait=0.02))

    def _add(self, prompt):
        kinds = HOPELESS if prompt.startswith(FOREIGN) else KINDS
        reasons = []
        for seed in SEEDS:
            kind = self._choose.choices(kinds, [kind.share for kind in kinds])[0]
            final = self._say.reply(kind.says(prompt), finish=kind.finish)
            self.answers[prompt] += [(seed, said) for said in (*self._faults(), final)]
            if not kind.reason:
                break
            reasons.append(f"llm: {kind.reason}")
        self.refusals[prompt] = tuple(dict.fromkeys(reasons)), not kind.reason

    def _faults(self):
        say, choose = self._say, self._choose
        kinds = (
            say.failure(429, retry_after="0.005"),
            say.failure(429),
            say.failure(500),
            say.failure(503, retry_after="0"),
            say.cut(),
        )
        return choose.choices(kinds, k=choose.choices((0, 1, 2, 4), (70, 20, 7, 3))[0])

    def script(self, body, attempt):
        answers = self.answers[prompt_of(body["messages"][-1]["content"])]
        if attempt >= len(answers) or body["seed"] != answers[attempt][0]:
            self.wrong.append(body)
            return self._say.failure(404, "this was not to be asked")
        return answers[attempt][1]


def test_a_thousand_intents_end_reworded_or_with_a_reason(serve, client, say):
    targets = intents()
    assert len(targets) == 1000
    plan = Plan(say, targets)
    server = serve(plan.script)

    def run():
        chat = client(server, concurrency=6, timeout=6)
        return rephrase_checked(targets, in_turn(["llm", "rules"], Setting(SEED, chat=chat)), RECIPE.bounds), chat.usage

    results, usage = run()
    assert plan.wrong == []
    assert {prompt_of(user): count for user, count in server.counts.items()} == {
        prompt: len(answers) for prompt, answers in plan.answers.items()
    }
    assert usage.requests == len(server.asked) >= 2000
    assert 1 < server.most_at_once <= 6

    by_rules = iter(rephrase_checked(left(plan, targets), in_turn(["rules"], Setting(SEED)), RECIPE.bounds))
    for prompt, result in zip(targets, results, strict=True):
        reasons, by_llm = plan.refusals[prompt]
        if by_llm:
            assert result == Rephrased(reworded(prompt), Rephrasing("llm", "tiny", "1"), reasons)
        else:
            expected = next(by_rules)
            assert result == replace(expected, refusals=(*reasons, *expected.refusals))
    made = Counter(result.rephrasing and result.rephrasing.engine for result in results)
    assert made["llm"] > 500
    assert made["rules"] > 20
    assert all(result.refusals[-1] == "rules: no rewording" for result in results[-50:])

    assert run() == (results, Usage(cached=paid(plan)))
    assert len(server.asked) == usage.requests


def left(plan, targets):
    """What no reply rewords."""
    return {prompt: targets[prompt] for prompt, (_, by_llm) in plan.refusals.items() if not by_llm}


def paid(plan):
    """How many replies are paid for: one for each seed that a prompt is asked with."""
    return sum(len({seed for seed, _ in answers}) for answers in plan.answers.values())


class Flaky:
    """A script whose replies depend on the prompt and the seed, with a fault before every seventh; it can hold back."""

    def __init__(self, say):
        self._say, self._lock = say, threading.Lock()
        self.seen, self.answered = Counter(), set()
        self.begin(None)

    def begin(self, hold_after):
        """From now on, answer so many requests and then none until ``go_on``; None answers all."""
        self._left, self._go_on = hold_after, threading.Event()

    def go_on(self):
        self._go_on.set()

    def script(self, body, attempt):
        prompt, seed = prompt_of(body["messages"][-1]["content"]), body["seed"]
        number = int.from_bytes(random.Random(f"{prompt}{seed}").randbytes(2))
        with self._lock:
            first = (prompt, seed) not in self.seen
            self.seen[prompt, seed] += 1
            held = self._left == 0
            self._left = self._left and self._left - 1
            fails = first and number % 7 == 0
            if not held and not fails:
                self.answered.add((prompt, seed))
        if held:
            self._go_on.wait(60)
        if fails:
            return (self._say.cut(), self._say.failure(429, retry_after="0.01"))[number % 11 > 1]
        kind = random.Random(number).choices(KINDS, [kind.share for kind in KINDS])[0]
        return self._say.reply(kind.says(prompt), finish=kind.finish)


@pytest.fixture
def folder(tmp_path, cnle_records):
    """A dataset of 120 cases."""
    records = [
        replace(
            cnle_records[0],
            case_id=CNLE.case_id(intent, snippet),
            intent=intent,
            snippet=snippet,
            provenance=replace(cnle_records[0].provenance, group=f"question-{number}"),
        )
        for number, (intent, snippet) in enumerate(list(intents().items())[:120])
    ]
    splits = {split: records[40 * place : 40 * place + 40] for place, split in enumerate(SPLITS)}
    storage.write_dataset(tmp_path / "cnle", CNLE, splits, {"limits": ["Made up for the tests."]})
    return tmp_path / "cnle"


@pytest.fixture
def start(root, tmp_path, folder):
    """Start the command, whose result goes to a folder "killed"."""
    started = []

    def run(server):
        line = [sys.executable, "-m", "clmeeval_data.builders.cli", "paraphrase", folder, "--out", tmp_path / "killed"]
        line += ["--engine", "llm", "--engine", "rules", "--llm-base-url", server.url, "--llm-model", "tiny"]
        line += ["--llm-cache", tmp_path / "replies", "--llm-concurrency", "4"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
        pipe = subprocess.PIPE
        started.append(
            subprocess.Popen([*map(str, line)], cwd=root, env=environment, stdout=pipe, stderr=pipe, text=True)
        )
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


def content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def finished(process):
    """What the command says on stderr once it has ended well."""
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return " ".join(errors.split())


def test_the_command_is_killed_twice_and_asks_only_for_what_is_missing(serve, start, options, folder, say, tmp_path):
    flaky = Flaky(say)
    server = serve(flaky.script)
    undisturbed = Task(("llm", "rules"), chat=Chat(options(server, cache=tmp_path / "other", concurrency=4)))
    rephrase_dataset(folder, undisturbed, tmp_path / "undisturbed")
    asked = flaky.seen.copy()
    assert sum(asked.values()) == len(server.asked) > 180
    assert set(asked.values()) == {1, 2}

    flaky.seen.clear()
    flaky.answered.clear()
    for answers in (50, 105):  # of the first round of wordings, and of a later one
        flaky.begin(answers)
        before = len(server.asked)
        process = start(server)
        try:
            server.requests_until(before + answers + 4)
            process.kill()
            process.communicate()
        finally:
            flaky.go_on()
        assert process.returncode == -signal.SIGKILL
        assert len(server.asked) == before + answers + 4
        assert not (tmp_path / "killed").exists()
        kept = {each: flaky.seen[each] for each in flaky.answered}

    flaky.begin(None)
    before = len(server.asked)
    said = finished(start(server))
    assert f"tiny: {len(server.asked) - before} requests sent, {len(kept)} answered from the cache" in said
    assert {each: flaky.seen[each] for each in kept} == kept
    assert flaky.seen.keys() == asked.keys()
    assert 0 < (flaky.seen - asked).total() <= 2 * 4
    assert server.most_at_once <= 4
    assert content(tmp_path / "killed") == content(tmp_path / "undisturbed")
    assert check_dataset(tmp_path / "killed") == []
