"""A normal form of functions that mean the same: the proof behind the rewritings, and written apart from them.

Every step here turns a syntax tree into one that does the same for all inputs. So two texts with one normal form are
equivalent, whatever made one from the other; two without may still be.
"""
