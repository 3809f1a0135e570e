"""The leaderboard: result files in, a static site out.

    load -> tables -> overall -> (data, pages with charts) -> build;  check and serve look at what was built

Python computes and renders everything; scripts in the browser only sort, filter and enlarge. No
module here imports torch, and only `charts` may mark text as safe HTML.
"""
