"""Commands of clmeeval-evaluate that stand in a module of their own, each with an ``add_to(app)``."""
