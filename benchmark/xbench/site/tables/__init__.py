"""Result files as the tables of the site: tasks, models, methods, runs, and one row per score.

    entries: what the tables speak of;  naming: from results to entries, with titles that tell apart
    boards: rows and their ranks;  heads: scores of single heads;  tabulate: all of it at once

A *board* is what can be compared directly: one task on the same clips, one model, one metric and one
reference. Ranks, rank intervals and the group not distinguished from the best are computed here,
through `xbench.stats`, and nowhere else.
"""
