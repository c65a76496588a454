"""What a recipe may ask of its pairs beyond size, syntax and leaks: one value per threshold, each off unless set."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class IntentRules:
    """What the intents of CNLE must be.

    Args:
        ascii_share: The least share of ASCII among the letters. Above 0, intents in another language written in Latin
            letters go too.
        whole: Only intents that end, and that don't point at another text.
        requests: Only what code can answer: no questions for an explanation, no reports of a fault.
        content_words: The least number of words that say what is asked for.
    """

    ascii_share: float = 0.0
    whole: bool = False
    requests: bool = False
    content_words: int = 0


@dataclass(frozen=True)
class SnippetRules:
    """What the snippets of CNLE must be.

    Args:
        code: Only Python: no prompts, tracebacks, commands of a shell, templates, or statements of other languages.
        statements: At least one statement that does more than to mention a name, a literal or an import.
        complete: Nothing left out, and no output among the statements.
        fewest_tokens: The least number of tokens.
        most_tokens: The largest number of tokens; 0 for any.
        shared_words: The least number of the intent's content words that the snippet takes up.
        shared_by_name: The same where the snippet is but a dotted name, such as ``socket.AF_UNIX``.
    """

    code: bool = False
    statements: bool = False
    complete: bool = False
    fewest_tokens: int = 0
    most_tokens: int = 0
    shared_words: int = 0
    shared_by_name: int = 0


@dataclass(frozen=True)
class DescriptionRules:
    """What the descriptions of CSNE must be.

    Args:
        ascii_share: As for intents.
        summary: Only sentences that say what the function does, in one sentence.
        shared_words: The least number of the description's content words that the function takes up.
    """

    ascii_share: float = 0.0
    summary: bool = False
    shared_words: int = 0


@dataclass(frozen=True)
class FunctionRules:
    """What the functions of CSNE must be.

    Args:
        silent: No docstring is left in the function, and no text in it repeats the description.
        repeating_text: From this similarity on (0 to 100) a string or a comment repeats the description.
        library: No tests and no special methods such as ``__init__``.
        fewest_tokens: The least number of tokens in the function, without its docstring.
        most_tokens: The largest number of tokens; 0 for any.
    """

    silent: bool = False
    repeating_text: float = 100.0
    library: bool = False
    fewest_tokens: int = 0
    most_tokens: int = 0


@dataclass(frozen=True)
class Rules:
    """All of them; those of the other benchmark are not looked at.

    Args:
        compiler: Only code that the running Python parses: the grammar by which code is read is a little wider, and
            takes some of Python 2.
        intents: CNLE.
        snippets: CNLE.
        descriptions: CSNE.
        functions: CSNE.
    """

    compiler: bool = False
    intents: IntentRules = field(default_factory=IntentRules)
    snippets: SnippetRules = field(default_factory=SnippetRules)
    descriptions: DescriptionRules = field(default_factory=DescriptionRules)
    functions: FunctionRules = field(default_factory=FunctionRules)
