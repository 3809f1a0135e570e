"""The data files of the site: what pages load and what people download.

    results: all scores by column;  exports: CSV, LaTeX and Markdown;  heads: single heads
    standings: over tasks and models;  runs: what results say of themselves
    scripts: the same for pages opened from a folder, and names and pairs

`results` is stored by column in two tables, because a run has several scores:

    runs: id, task, model, config, status, seconds, passes, memory, device, date, submission
    cols: run (index into runs), metric, reference, value, low, high, n, clusters, floor, ceiling,
          skill, disattenuated, weighted, rank, rank_high, reason, rank_reason

A column is `{"v": [...]}`, or `{"dict": [...], "ix": [...]}` where few texts repeat; an index of -1 is
null. Rows stand in the order in which the pages show them: task, model, metric, reference, best first.
A row's permanent name is `<run id>/<metric>@<reference>`.
"""
