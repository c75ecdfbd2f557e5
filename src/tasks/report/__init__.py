"""``report.html``: a page about one or several runs, in one self-contained file."""
