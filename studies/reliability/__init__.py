"""Nothing phones home, nothing crashes, nothing is lost: thousands of hostile files, and runs that are killed.

    python -m studies.reliability --kills 200 --inputs 100000 --out runs/reliability

`inputs` makes the files by numbers, `readers` gives them to the readers in processes with limits, `kills` kills
commands at random moments and at chosen file events, `watching` looks for requests and for files elsewhere.
"""
