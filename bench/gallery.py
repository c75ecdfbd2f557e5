"""``python -m bench.gallery digits=RUN photos=RUN``: draw the pictures of ``docs/gallery.md`` that have given data.

The commands are those of the page, with the run of each net in place of ``name=<net>``; nets that are not named are
skipped. Pictures go to ``docs/images``, measurement errors and PSNR to ``docs/results/gallery.json``.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from src.io.atomic import write_json

PAGE, RESULTS = Path("docs/gallery.md"), Path("docs/results/gallery.json")
_SECTION = re.compile(r"^## (.+?)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)


def sections(page: str) -> dict[str, tuple[list[str], str]]:
    """Return the arguments of ``sample.py`` and the picture of every section with given data."""
    found = {}
    for title, text in _SECTION.findall(page):
        lines = text.replace("\\\n", " ").splitlines()
        command = next((line for line in lines if line.startswith("python sample.py") and "given_count=" in line), None)
        if command is not None:
            found[title] = shlex.split(command)[2:], re.findall(r"\]\((images/\S+)\)", text)[0]
    return found


def main() -> None:
    """Sample, copy the pictures, and write the numbers."""
    runs = dict(word.split("=", 1) for word in sys.argv[1:])
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    for title, (arguments, picture) in sections(PAGE.read_text(encoding="utf-8")).items():
        name = next(word.removeprefix("name=") for word in arguments if word.startswith("name="))
        if name not in runs:
            continue
        kept = [word for word in arguments if not word.startswith(("name=", "ckpt_path="))]
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder, "out")
            command = [sys.executable, "sample.py", f"ckpt_path={runs[name]}", f"output_dir={output}", *kept]
            subprocess.run(command, check=True)
            shutil.copy(output / "given.png", PAGE.parent / picture)
            entry = json.loads((output / "metrics.json").read_text(encoding="utf-8"))["results"][0]
            manifest = json.loads((output / "manifest.json").read_text(encoding="utf-8"))
        results[title] = {
            "command": shlex.join(["python", "sample.py", *arguments]),
            "samples": manifest["num_samples"],
            "evaluations": manifest["nfe"]["mean"],
            "values": entry["values"],
        }
        write_json(RESULTS, results)


if __name__ == "__main__":
    main()
