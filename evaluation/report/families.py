"""The families of the methods, written down here because the report runs without the editors (and torch)."""

FAMILIES = {
    "agrace": "memory",
    "alphaedit": "locate-then-edit",
    "ft": "global optimisation",
    "grace": "memory",
    "incontext": "memory",
    "lora": "global optimisation",
    "malmen": "global optimisation",
    "memit": "locate-then-edit",
    "none": "floor",
    "pmet": "locate-then-edit",
    "rome": "locate-then-edit",
    "ultraedit": "global optimisation",
}
OTHER = "other"


def family(method: str) -> str:
    """The family of a method, "other" for one that this package does not have."""
    return FAMILIES.get(method, OTHER)
