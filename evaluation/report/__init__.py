"""From result folders to tables, plots and one page. Loads no torch."""
