"""Whether a text and a code speak of the same thing, as far as their words show: a lexical stand-in for a judge.

It sees that an answer takes up nothing of a question. It can't see that an answer is wrong.
"""

import re
from collections.abc import Set as AbstractSet
from functools import cache, lru_cache

from clmeeval_data import syntax
from clmeeval_data.builders.sources import Pair
from clmeeval_data.english import FUNCTION_WORDS, stem

# Words of questions about programming that say nothing about what is asked.
_EMPTY = frozenset(
    re.findall(
        r"\w+",
        "python python2 python3 py way ways how do does did doing can could should would may might use uses used "
        "usage using get gets getting make makes making made have has had having want wants need needs try "
        "trying work works working me my mine you your we our there what which when where why who then so but "
        "also like just only please help good best better easy easier easiest simple simpler simplest proper "
        "properly right correct correctly pythonic elegant elegantly fast faster fastest efficient efficiently "
        "possible possibly code script scripts program programs example examples following certain specific "
        "specified different another other more most some something thing things many much within without via "
        "after before because while during per etc will must such about them they he she his her am im ve don "
        "doesn isn exactly really actually given returns called argument arguments method function functions "
        "methods object objects optional default i return self",
    )
)
# What code shows of a word: keywords, operators, names of libraries and their usual short names.
_SHOWN_BY = """
list array element item index slice entry sequence sublist : [ list append extend enumerate index
dictionary dict key mapping json hash : { dict items keys values loads dumps json
loop iterate iteration each every all comprehension through over : for while iter all any map
string text character letter word char : s str join split strip encode decode format replace re lower upper string
regex regular expression pattern match matching regexp : re regex sub findall search compile
number integer digit decimal numeric : int float round n num range
float decimal precision round : float round decimal
sort order ordered sorting ordering sorted : sorted sort key order
file folder directory path filename txt csv : open os f path file read write readlines shutil glob
line lines newline : \\n readline readlines splitlines line lines
callback decorator closure lambda : def lambda
class instance inherit inheritance subclass : class self obj
condition conditional check whether if else statement test : if else in is isinstance assert
compare comparison equal equality equals : == != is cmp
greater less larger smaller threshold between range : < > <= >=
concatenate combine merge join append add total sum prepend : + join += sum append concat merge extend update zip
multiply product power square squared : * ** prod pow dot
divide division quotient ratio : / // div
subtract difference : - diff set timedelta
modulo remainder even odd divisible : %
last reverse end negative backwards reversed final : - reverse reversed
first start beginning leading : 0 1
second third : 1 2
empty none null missing nan blank : none null not nan dropna fillna isnull nonzero
exception catch error raise handle : try except raise
module package library : import from importlib
matrix matrices vector numpy dimension dimensional 2d 3d grid multidimensional : np numpy array reshape shape
pandas dataframe column row series frame timeseries : df pd series dataframe axis
plot graph figure chart axis matplotlib axes legend label pyplot color colour : plt ax fig pylab
django model queryset orm query foreign manytomany : objects filter models model exclude
form view template post : request form render
sqlalchemy : session query column
sql mysql sqlite sqlite3 database db query insert table postgres postgresql : execute cursor commit db conn connection
selenium webdriver browser click page : driver browser
html xml tag parse scrape scraping scraper beautifulsoup lxml node : soup xpath find findall etree beautifulsoup bs4
url http web website webpage page download request api site : requests urllib urllib2 urlopen request url response
tkinter widget window button gui : tk root tkinter self widget
wxpython wx : wx
command shell terminal execute run process external bash executable : subprocess os popen system call
output print display show console stdout : print stdout sys write
input user prompt keyboard : input raw argv
parameter keyword variadic command : args kwargs argv sys argparse parser * **
date time datetime day month year hour minute second timestamp today : datetime strftime strptime timedelta time date
unicode utf utf8 encoding ascii latin : encode decode u utf
random randomly shuffle : random choice shuffle rand randint
thread threading threaded multiprocessing parallel concurrent background : thread threading pool process
length count size number occurrence occurrences : len count sum counter size
duplicate unique distinct repeated : set unique counter
attribute property member field : getattr setattr property
sleep wait delay pause : sleep time wait
kill stop exit terminate close quit : exit kill quit close destroy terminate
maximum largest highest longest biggest greatest : max nlargest
minimum smallest lowest shortest : min nsmallest
binary hex hexadecimal bit byte bytes octal : bin hex struct unpack pack 16 2 b
remove delete drop strip rid clear erase exclude : del remove pop drop sub replace strip clear not !=
filter select extract : if filter where
substring : [
space whitespace spaces tab comma separated delimiter delimited : split strip sep
nested flatten flattened flat : for chain
opencv cv : cv2 cv
appengine gae ndb datastore engine : db ndb key webapp
environment : environ
image picture png photo jpg : img im image pil imshow
current now : now today cwd
function call : def call
rank ranking : sorted sort argsort rank
combination combinations permutation permutations product cartesian : itertools product combinations permutations
rounding ceil floor integer : round ceil floor int // math
clamp limit bound bounds : min max clip
variables globals scope local namespace : globals locals global nonlocal vars
average mean : mean sum avg average len
async asynchronous asynchronously nonblocking daemon : thread async await gevent
email mail smtp : smtplib smtp mail sendmail msg mimetext
zip zipped archive compress unzip : zipfile tarfile gzip zip zlib
login authenticate authentication password credentials : login password auth session username
capitalize uppercase lowercase capital title case : upper lower title capitalize swapcase ignorecase
location folder installed : path os dirname abspath realpath __file__
timer interval schedule periodically delay : time timer sleep after sched
literal evaluate eval : eval exec literal_eval ast
copy clone duplicate : copy deepcopy
consecutive adjacent successive neighbours : zip groupby diff 1
port network client server tcp udp : socket port connect bind listen host
session cookie cookies header headers : session cookies cookiejar headers
async event loop : loop run mainloop
hide invisible visible show : hide show visible set_visible
precision decimals digits places : round format % decimal
tuple tuples pairs pair coordinates : zip tuple
""".strip()
_KEYWORDS = frozenset(
    re.findall(r"\w+", "for from import not and def class self in is if or as with while return none true false")
)
_WORD = re.compile(r"[a-z]+\d?|\d+")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def content(text: str) -> list[str]:
    """The words of a text that say what it is about, in lower case, each once; names of code fall into their parts."""
    found = _WORD.findall(_HUMP.sub(" ", text).casefold().replace("_", " "))
    return [word for word in dict.fromkeys(found) if word not in FUNCTION_WORDS and word not in _EMPTY]


def shared_words(text: str, code: str) -> list[str]:
    """The content words of a text that a code takes up: in names, in parts of names, or in what stands for them."""
    parts = _parts(code)
    stems = frozenset(stem(part) for part in parts if part.isalpha() and part not in _KEYWORDS)
    return [word for word in content(text) if _is_shown(word, parts, stems)]


def is_title(pair: Pair) -> bool:
    """Whether an intent is but the title of a question, which may say little of what the snippet answers.

    It is none if it is a sentence with a full stop, or if it came with another wording: somebody worded it for its
    snippet.
    """
    return pair.rephrasing is None and not pair.prompt.rstrip().endswith(".")


def unrelated(pair: Pair, benchmark: str, least: int) -> str | None:
    """The text, intent or description, and the code share some content words; see ``is_title``."""
    if benchmark == "cnle" and not is_title(pair):
        return None
    text, code = (pair.target, pair.prompt) if benchmark == "csne" else (pair.prompt, pair.target)
    return "text and code share too few words" if len(shared_words(text, code)) < least else None


def _is_shown(word: str, parts: AbstractSet[str], stems: AbstractSet[str]) -> bool:
    if word in parts or not _signs(word).isdisjoint(parts):
        return True
    root = stem(word)
    return len(root) > 2 and any(_alike(root, other) for other in stems)


def _alike(one: str, other: str) -> bool:
    short, long = sorted((one, other), key=len)
    if len(short) < 3:
        return False
    return long.startswith(short) or (len(short) > 3 and short in long) or (len(short) > 4 and one[:5] == other[:5])


@lru_cache(maxsize=64)
def _parts(code: str) -> frozenset[str]:
    """What a text might take up: tokens, the words in them, and names without a number at their end."""
    found = set(syntax.tokens(code))
    for token in list(found):
        words = _WORD.findall(_HUMP.sub(" ", token).casefold().replace("_", " "))
        found.update(words)
        found.update(word.rstrip("0123456789") for word in words)
        if "\\n" in token:
            found.add("\\n")
    return frozenset(found - {""})


@cache
def _table() -> dict[str, frozenset[str]]:
    table: dict[str, set[str]] = {}
    for line in _SHOWN_BY.splitlines():
        words, _, signs = line.partition(" : ")
        for word in words.split():
            table.setdefault(word, set()).update(signs.split())
    return {word: frozenset(signs) for word, signs in table.items()}


def _signs(word: str) -> frozenset[str]:
    """The parts of code that usually stand for a word."""
    table = _table()
    forms = (word, word.removesuffix("s"), word.removesuffix("es"), stem(word))
    return next((table[form] for form in forms if form in table), frozenset())
