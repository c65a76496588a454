"""What a reader does with a leaderboard page in the browser, and what every page must then show."""

import re

WAIT = 15_000  # milliseconds
EM = "effectiveness.exact_match"
IMAGE = "<img src=x onerror=alert(1)>"
SCRIPT = "</script><script>alert(1)</script>"
MARKS, MARKS_SHOWN = "left \u202eright\u200f", "left ⟨U+202E⟩right⟨U+200F⟩"
LONG, LONG_NOTE = "x" * 10_000_000, "… 9,996,000 more characters are not shown"
FOCUSED = "(e => e.id || e.closest('th')?.dataset.column || e.tagName)(document.activeElement)"
PHONE = {"width": 390, "height": 800}


def section_of(page, dataset="cnle", model="tiny", protocol=None):
    """The part of the page with one table."""
    more = f"[data-protocol='{protocol}']" if protocol else ""
    return page.locator(f"section[data-dataset='{dataset}'][data-model='{model}']{more}")


def titles(page):
    """Of the tables that are to be seen."""
    return page.locator("section[data-table]:visible h2").all_inner_texts()


def methods(section):
    """Of a table, from top to bottom, without those that are hidden."""
    rows = section.locator("table.results").first.locator("tbody tr:visible th")
    return rows.evaluate_all("cells => cells.map(cell => cell.dataset.value)")


def header(section, column=EM):
    return section.locator(f"th[data-column='{column}']").first


def numbers(section, column=EM):
    """The numbers of one column, from top to bottom, the floor's left out."""
    cells = section.locator("table.results").first.locator(f"tbody tr:not(.floor) td[data-column='{column}']")
    return [float(value) for value in cells.evaluate_all("cells => cells.map(cell => cell.dataset.value)")]


def open_case(page):
    """The case that is open, once its content has come."""
    page.wait_for_selector(".case:visible .method")
    return page.locator(".case:visible")


def check_sorting(page, section):
    """A header sorts, again the other way, and a third time not at all; the address keeps it.

    Returns the methods as they came, by name, falling and rising.
    """

    def pressed(column):
        header(section, column).get_by_role("button").click()
        return header(section, column).get_attribute("aria-sort")

    def ends_with_the_floor(found):
        return "none" not in found or found[-1] == "none"

    first = methods(section)
    assert pressed("method") == "ascending"
    by_name = methods(section)
    others = [name for name in by_name if name != "none"]
    assert others == sorted(others) and sorted(by_name) == sorted(first) and ends_with_the_floor(by_name)
    assert pressed(EM) == "descending"
    falling = methods(section)
    assert numbers(section) == sorted(numbers(section), reverse=True) and ends_with_the_floor(falling)
    assert pressed(EM) == "ascending"
    rising = methods(section)
    assert numbers(section) == sorted(numbers(section)) and ends_with_the_floor(rising)
    address = page.url
    page.goto("about:blank")
    page.goto(address)
    assert methods(section) == rising
    assert pressed(EM) is None
    assert methods(section) == first
    return first, by_name, falling, rising


def check_filter(visit, label, value):
    """A filter leaves the tables that fit, the address keeps it, and Clear takes it back; returns the titles left."""
    page = visit()
    every = titles(page)
    page.locator("#filters").get_by_label(label).select_option(value)
    left = titles(page)
    assert 0 < len(left) < len(every)
    assert f"{len(left)} of {len(every)} tables" in page.locator("#shown").inner_text()
    again = visit(page.url[page.url.index("#") :])
    assert titles(again) == left
    assert again.locator("#filters").get_by_label(label).input_value() == value
    again.get_by_role("button", name="Clear").click()
    assert titles(again) == every
    return left


def check_keyboard(visit, hash_):
    """From the top of the page a case is opened and closed by Tab and Enter alone, past everything that can be used."""
    page = visit(hash_)
    filters = page.locator("#filters select").evaluate_all("found => found.map(select => select.id)")
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    page.locator("section[data-table]:visible table.cases a").first.wait_for()  # the list comes when it is near
    reached = set()
    for _ in range(120):
        page.keyboard.press("Tab")
        what = page.evaluate(FOCUSED)
        reached.add(what)
        assert page.evaluate("document.activeElement.matches(':focus-visible')")
        if what == EM:
            page.keyboard.press("Enter")
            assert "sort=effectiveness.exact_match:descending" in page.url
        if page.evaluate("document.activeElement.matches('table.cases a')"):
            page.keyboard.press("Enter")
            break
    assert {*filters, EM, "method", "SUMMARY"} <= reached
    open_case(page)
    assert page.evaluate("document.activeElement.classList.contains('id')")
    for _ in range(4):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.innerText") == "Close":
            break
    page.keyboard.press("Enter")
    page.wait_for_selector(".case:visible", state="hidden")
    assert page.evaluate("document.activeElement.type") == "search"
    return filters


def check_dark_mode(visit):
    """Paper is light or dark as the reader wants it, and so is the ink of page and pictures the other way round."""

    def shade(page, element, kind):
        colour = page.evaluate("([at, kind]) => getComputedStyle(document.querySelector(at))[kind]", [element, kind])
        return sum(map(int, re.findall(r"\d+", colour)[:3]))

    for scheme, paper_is_light in (("light", True), ("dark", False)):
        page = visit(color_scheme=scheme)
        assert (shade(page, "body", "backgroundColor") > 700) == paper_is_light
        assert (shade(page, "body", "backgroundColor") < 100) != paper_is_light
        assert (shade(page, "body", "color") < 150) == paper_is_light
        page.goto(page.locator(".pictures img").first.evaluate("image => image.src"))
        assert (shade(page, "text[style*='#1f2328'], [style*='#1f2328'] text", "fill") < 150) == paper_is_light


def check_phone(page, axe=None):
    """On a phone nothing but a table's own frame scrolls sideways; with ``axe``, that finds no serious problem."""
    page.evaluate("for (const details of document.querySelectorAll('details')) details.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    if axe is None:
        return
    found = axe.run(page, options={"preload": False}).response["violations"]
    serious = [(rule["id"], rule["nodes"][0]["html"]) for rule in found if rule["impact"] in ("serious", "critical")]
    assert serious == []


def check_markup_is_text(page):
    """An image with a script and the end of a script, which a case holds as answers, are to be read in it."""
    text = open_case(page).inner_text()
    assert IMAGE in text and SCRIPT in text
    assert page.locator("section .explorer img, section .explorer script").count() == 0


def check_marks_are_shown(page):
    """Marks of the direction of writing, which a case holds in an answer, show as their code points."""
    assert MARKS_SHOWN in open_case(page).inner_text()


def check_ten_megabytes_are_cut(page):
    """An answer of ten megabytes ends after 4,000 characters, with a note."""
    text = open_case(page).inner_text()
    assert LONG_NOTE in text and len(text) < 40_000
