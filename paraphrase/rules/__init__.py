"""Rules that word an intent anew: English for programmers, no model, no network.

A text is read in three steps. What must not change (code, literals, names, numbers) is masked (``spans``); what is
asked is read off the way it is asked, and asked in another way (``requests``, ``sentences``); words and phrases give
way to others that programmers use for the same thing (``lexicon``). The tables are TOML files beside the code.
"""
