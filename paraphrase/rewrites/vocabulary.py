"""Other names for variables that programmers would choose as well: whole names, words of names, forms of names."""

import re
from collections.abc import Iterator, Mapping, Sequence


def _table(text: str) -> Mapping[str, Sequence[str]]:
    """One entry a line: a word, a colon, and the words that can stand in for it."""
    pairs = (line.partition(":") for line in text.strip().splitlines())
    return {word.strip(): tuple(others.split()) for word, _, others in pairs}


WORDS: Mapping[str, Sequence[str]] = _table("""
addr: address
app: application
arg: argument
args: arguments
arr: array values
array: arr
attr: attribute
attributes: attrs properties
attrs: attributes
avg: average mean
body: payload
buf: buffer
buffer: buf
callback: handler
cfg: config
char: character letter
chunk: block piece
cmd: command
cnt: count
command: cmd
conf: config configuration
config: configuration conf
configuration: config
conn: connection
connection: conn
content: contents data
contents: content data
context: ctx
count: cnt counter
counter: count
ctx: context
current: present
cursor: cur
data: content info
dataset: data_set
db: database
delta: difference change
desc: description
description: desc
dest: destination target
destination: dest target
diff: difference
difference: diff
dir: directory folder
directories: folders dirs
directory: folder
dirname: directory folder
dirs: directories folders
doc: document
document: doc
dst: destination target
elem: element item
element: item entry
elements: items entries
encoding: charset
entries: items records
entry: item record
err: error problem
error: err
errors: problems failures
event: evt
exc: error exception
exception: exc error
expr: expression
ext: extension
extension: ext
factor: multiplier
failure: problem
fd: descriptor
fields: columns
fig: figure
filename: file_name fname
filepath: file_path
files: file_list
filters: criteria
fmt: format
fname: filename file_name
folder: directory
fp: handle stream
func: function
function: func
handler: callback
host: hostname
id: identifier
identifier: ident
ids: identifiers
idx: index pos
image: img picture
img: image picture
ind: index idx
index: idx
indexes: indices
indices: indexes
info: details information
inst: instance
instance: inst
item: element entry
items: elements entries
iter: iterator
job: task
keys: key_list
last: final latest
len: length size
length: size
line: text_line
lineno: line_number
lines: text_lines
loc: location
lst: values listing
match: matched
matches: hits
mean: average
message: msg
messages: msgs
meta: metadata
metadata: meta
msg: message
next: following
now: current_time
ns: namespace
num: number
number: num
obj: instance
objects: instances
objs: objects instances
old: previous former
op: operation
operation: op
options: opts settings
opts: options
order: ordering
orig: original
original: orig
out: output
outfile: output_file
output: result out
outputs: results
param: parameter
parameter: param
parameters: params
params: parameters
part: piece segment
parts: pieces segments
path: location
paths: locations
payload: body content
pos: position
position: pos
prev: previous former
previous: prev former
proc: process
process: proc
properties: attributes
props: properties attributes
reason: cause
record: entry row
records: entries rows
ref: reference
regex: pattern
repo: repository
res: result outcome
resp: response reply
response: reply resp
rest: remainder
result: outcome output
results: outcomes output
ret: result outcome
retval: result outcome
row: record
rows: records
rv: result outcome
sample: example
samples: examples
section: part
seen: visited known
segment: piece part
segments: pieces parts
seq: sequence
sequence: seq
session: sess
settings: options
source: src
src: source
stats: statistics
str: string text
string: text
subset: selection
svc: service
task: job
temp: tmp scratch
text: string txt
threshold: cutoff limit
timeout: time_limit
timestamp: time_stamp
title: heading
tmp: temp scratch
tok: token
token: tok
tokens: toks
ts: timestamp
txt: text
types: kinds
uri: url
url: link
urls: links
usr: user
val: value
vals: values
value: val
values: vals entries
vec: vector
vector: vec
visited: seen
word: term
words: terms
""")
"""Words that stand for the same thing, as whole names or as one word of a longer name."""

_WHOLE = frozenset(
    {
        "item",
        "items",
        "element",
        "elements",
        "entry",
        "entries",
        "data",
        "info",
        "content",
        "contents",
        "text",
        "string",
    }
    | {
        "task",
        "job",
        "rest",
        "result",
        "results",
        "output",
        "outputs",
        "status",
        "state",
        "record",
        "row",
        "file",
        "files",
    }
    | {"body", "payload", "count", "counter", "location", "order", "sample", "samples", "term", "word", "words", "last"}
    | {"delta", "difference", "diff", "num", "number", "line", "lines"}
)
"""Words that mean something else as a part of a longer name."""

FORMS: Sequence[tuple[re.Pattern[str], Sequence[str]]] = tuple(
    (re.compile(pattern), others)
    for pattern, others in (
        (r"(?:num|n|nb)_(\w+s)", (r"\1_count",)),
        (r"(\w+s)_count", (r"num_\1",)),
        (r"cur(?:r)?_(\w+)", (r"current_\1",)),
        (r"([a-z]{3,})_name", (r"name_of_\1",)),
        (r"([a-z]{3,})_names", (r"names_of_\1",)),
        (r"([a-z]{3,})_type", (r"type_of_\1", r"\1_kind")),
        (r"(\w+[a-rt-z])_list", (r"\1s",)),
        (r"([a-z]{3,})_dict", (r"\1_mapping", r"\1_map")),
        (r"([a-z]{3,})_map", (r"\1_mapping", r"\1_lookup")),
        (r"([a-z]{3,})_path", (r"path_to_\1", r"\1_location")),
        (r"([a-z]{3,})_size", (r"size_of_\1",)),
        (r"([a-z]{3,})_length", (r"length_of_\1", r"\1_size")),
        (r"len_([a-z]+)", (r"\1_length", r"\1_size")),
        (r"([a-z]{3,})_index", (r"index_of_\1", r"\1_idx")),
        (r"(\w+)_obj", (r"\1_object", r"\1_instance")),
        (r"(\w+)_id", (r"\1_identifier",)),
    )
)
"""Forms of longer names, tried where no word of the name has another word."""

LETTERS: Mapping[tuple[str, str], Sequence[str]] = {
    ("i", "counted"): ("idx", "index", "pos"),
    ("n", "counted"): ("number", "idx", "step"),
    ("k", "loop"): ("key",),
    ("v", "loop"): ("value", "val"),
    ("k", "paired"): ("key",),
    ("v", "paired"): ("value", "val"),
    ("f", "context"): ("handle", "stream", "file_handle", "opened"),
}
"""Single letters, by what binds them: a loop over numbers is ``counted``."""

ROLES: Mapping[str, Sequence[str]] = {
    "loop": ("item", "element", "entry"),
    "caught": ("error", "exc", "err", "problem", "failure"),
    "context": ("handle", "resource", "opened", "held"),
}
"""What any variable of such a role may be called, if its old name is a single letter or says no more than its role."""

# Words that make a phrase of a name, so that neither its words nor their order can change alone; verbs do in front.
_NO_NOUNS = frozenset(
    {"is", "has", "can", "should", "do", "did", "does", "use", "to", "from", "by", "for", "of", "in", "the", "no"}
    | {"not", "with", "without", "if", "when", "on", "as", "and", "or"}
)
_VERBS = frozenset(
    {"return", "get", "set", "show", "print", "check", "allow", "ignore", "include", "exclude", "skip", "force", "keep"}
    | {"add", "remove", "make", "create", "update", "delete", "write", "read", "load", "save", "run"}
    | {
        "parse",
        "use",
        "enable",
        "disable",
        "validate",
        "wait",
        "continue",
        "strip",
        "split",
        "sort",
        "copy",
        "overwrite",
    }
)
_VAGUE = {"caught": frozenset({"ex", "exc", "err", "error", "exception"}), "context": frozenset({"fh", "fd", "fp"})}


def others(name: str, role: str) -> Iterator[str]:
    """Other names for a variable, none where there is no natural one.

    Args:
        name: Its name.
        role: What binds it: "assigned", "loop", "inside" (a comprehension), "counted" (a loop over numbers),
            "together" (one of several in a loop), "paired" (k and v in a loop), "context", "caught" or "parameter".
    """
    if len(name) == 1:
        yield from _letters(name, role)
    elif name[-1].isalpha():  # else it is one of several
        yield from ROLES[role] if name in _VAGUE.get(role, ()) else ()
        yield from _longer(name)
        if role == "loop" and name.isalpha() and name.islower():
            yield from (f"current_{name}", f"this_{name}")


def _letters(name: str, role: str) -> Iterator[str]:
    yield from LETTERS.get((name, "loop" if role == "inside" else role), ())
    if name not in "jkv" or role == "caught":
        yield from ROLES.get("loop" if role == "inside" else role, ())


def _longer(name: str) -> Iterator[str]:
    """Names with another word in place of the last one, or of the first of two; then other forms of the whole name."""
    words = name.split("_")
    if (words[0] in _NO_NOUNS | _VERBS and len(words) > 1) or not _NO_NOUNS.isdisjoint(words[-2:-1]):
        return
    for place, word in reversed(list(enumerate(words))):
        if len(words) == 1 or (word not in _WHOLE and (place == len(words) - 1 or len(words) == 2)):
            for other in WORDS.get(word, ()):
                yield "_".join([*words[:place], other, *words[place + 1 :]])
    for pattern, forms in FORMS:
        if found := pattern.fullmatch(name):
            yield from (found.expand(form) for form in forms)
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
    if len(words) == 1 and name[0].islower() and snake != name and min(map(len, snake.split("_"))) > 1:
        yield snake


def plain_others(name: str, role: str) -> Iterator[str]:
    """Names that can always stand in: no better than the old one, and longer.

    Args:
        name: Its name.
        role: What binds it, as for ``others``.
    """
    if len(name) == 1:
        yield f"{name}_value"
    elif role == "parameter":
        yield f"input_{name}"
    else:
        yield f"current_{name}"
