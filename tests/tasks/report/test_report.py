"""The report shows the content of the run's files, tolerates damaged files, and runs no script of a run."""

from __future__ import annotations

import json
import logging
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from src.commands.report import main
from src.errors import UserError
from src.tasks.report import page as page_module
from src.tasks.report import task
from src.tasks.report.figures import curves, pareto, score_curves
from src.tasks.report.findings import findings
from src.tasks.report.folder import read_folders
from src.tasks.report.page import page
from src.tasks.report.settings import ABSENT, differences_from_default, flat_settings
from src.tasks.report.tables import commands, runs
from src.tasks.report.task import report_afterwards, write_report
from tests.tasks.report.example import HOSTILE, STEPS, loss, write_run


class Elements(HTMLParser):
    """Parse elements with attributes, scripts with their text, and the visible text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside != "style":
            self.text += data

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "digits/2026-01-02_03-04-05", skipped=4)


@pytest.fixture(scope="module")
def html(run) -> str:
    return page(read_folders([run]))


def figures_of(html: str) -> list[Any]:
    return list(json.loads(Elements(html).scripts[0]))


def test_curves_show_the_logged_values(run) -> None:
    found = {figure.title: figure.content["data"] for figure in curves(read_folders([run]))}
    assert set(found) == {"Loss", "Learning rate", "Gradient norm", "skipped_steps"}
    raw, smoothed = found["Loss"]
    assert raw["x"] == list(STEPS) and raw["y"] == pytest.approx([loss(s) for s in STEPS])
    # The smoothed curve is unbiased at its start and stays between the extremes.
    assert smoothed["y"][0] == pytest.approx(loss(20)) and min(raw["y"]) < smoothed["y"][-1] < loss(600)
    (rate,) = found["Learning rate"]
    assert set(rate["y"]) == {0.002}


def test_scores_have_error_bars(run) -> None:
    (figure,) = score_curves(read_folders([run]))
    (trace,) = figure.content["data"]
    assert trace["x"] == [400, 800, 1200] and trace["y"] == pytest.approx([5, 2.5, 2000 / 1200])
    assert trace["error_y"]["array"] == pytest.approx([0.5, 0.25, 200 / 1200])
    assert trace["error_y"]["arrayminus"] == pytest.approx([0.5, 0.25, 200 / 1200])


def test_the_pareto_plot_shows_scores_over_nfe(run) -> None:
    (folder,) = read_folders([run])
    figure = pareto([result for _, result in folder.results])
    assert figure is not None
    assert {t["name"]: (t["x"], t["y"]) for t in figure.content["data"]} == {
        f"{sampler} digits": ([5, 10, 20], [7, 4, 2.5]) for sampler in ("heun", "pc")
    }


def test_figures_are_valid_for_the_plotting_library(html) -> None:
    go = pytest.importorskip("plotly.graph_objects")
    for figure in figures_of(html):
        go.Figure(figure)


def test_the_page_shows_the_run_and_how_to_repeat_it(html) -> None:
    shown = Elements(html).text
    assert (
        Elements(html).text.index("2.38") < Elements(html).text.index("2.3 to 2.46") < shown.index("Before you believe")
    )
    for text in ("fid1k · digits", "Toy, 2 cores", "1:02", "conclusive: A is better"):
        assert text in shown
    assert "git checkout 0123456789abcdef\npython train.py experiment=digits optimizer.lr=0.002 name=digits" in shown
    pictures = [attributes["src"] for tag, attributes in Elements(html).tags if tag == "img"]
    # Three training steps, grid, film, memorization sheet; the comparison of samplers is a plot.
    assert len(pictures) == 6 and all(str(source).startswith("data:image/") for source in pictures)
    assert "Samples beside the nearest training images" in shown


def test_jobs_of_a_sweep_are_repeated_in_the_checkout(run) -> None:
    (folder,) = read_folders([run])
    (start,) = folder.starts
    start["command"] = "/home/me/project/train.py experiment=digits"  # type: ignore[index]
    assert commands(folder)[-1] == "python train.py experiment=digits optimizer.lr=0.002 name=digits"


@pytest.mark.parametrize(
    ("energies", "said"),
    [
        ([{}], "not known"),
        ([{"processors": 7200.0}], "processors 2 Wh"),
        ([{"processors": 7200.0}, {}], "processors at least 2 Wh"),
        ([{"processors": 3600.0}, {"processors": 3600.0}], "processors 2 Wh"),
    ],
)
def test_energy_is_shown_as_far_as_it_is_known(energies, said: str, run_copy: Path) -> None:
    def row() -> str:
        (run_copy / "run.json").write_text(json.dumps({"starts": starts}))
        return next(row[1] for row in runs(read_folders([run_copy])).rows if row[0] == "energy")

    (start,) = json.loads((run_copy / "run.json").read_text())["starts"]
    starts = [{**start, "energy": energy} for energy in energies]
    assert row().startswith(said) and "GPU" not in row()
    starts[0] |= {"hardware": {"gpus": "1 x A"}, "energy": {"gpus": 7.2e6}}
    assert ("GPUs 2000 Wh" if len(starts) == 1 else "GPUs at least 2000 Wh") in row()


def test_an_installed_package_shows_the_console_command(run) -> None:
    (folder,) = read_folders([run])
    (start,) = folder.starts
    start["command"] = "/env/site-packages/score_sde/commands/train.py experiment=digits"  # type: ignore[index]
    start["commit"] = None  # type: ignore[index]
    assert commands(folder) == ["score-sde train experiment=digits optimizer.lr=0.002 name=digits"]


def test_the_page_loads_nothing_from_outside(html) -> None:
    for tag, attributes in Elements(html).tags:
        for name in ("src", "href", "srcset", "action", "data"):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, attributes)
    assert "default-src 'none'" in html and "unsafe-eval" not in html and "script-src 'unsafe-inline'" not in html


def test_names_and_settings_are_escaped(tmp_path: Path) -> None:
    hostile = write_run(tmp_path / "run", HOSTILE)
    honest = write_run(tmp_path / "honest")
    for folders in ([hostile], [hostile, honest]):
        found, expected = Elements(page(read_folders(folders))), Elements(page(read_folders([honest] * 1)))
        assert found.count("script") == expected.count("script") == 3
        assert found.scripts[1:] == expected.scripts[1:]
        assert not any("onerror" in attributes for _, attributes in found.tags)
        assert HOSTILE in found.text
        # plotly interprets some HTML in texts.
        names = [trace.get("name", "") for figure in json.loads(found.scripts[0]) for trace in figure["data"]]
        assert not any("<" in name for name in names)


def test_warnings_about_skipped_steps_and_invalid_samples(run, tmp_path: Path) -> None:
    (folder,) = read_folders([run])
    shown = "\n".join(findings(folder))
    for text in (
        "4 steps were skipped",
        "samples/final: 1 of 1000 samples diverged",
        "2 of 1000 samples lie far outside the data, up to 123",
        "FID of 1,000 samples is larger than FID of 50,000",
        "intervals of kid are wide (1000 samples)",
    ):
        assert text in shown
    assert "not complete" not in shown and "not finite at" not in shown
    (tmp_path / "run.json").write_text(
        json.dumps({"starts": [{"ended": "KeyboardInterrupt: ", "commit": "ab+changes"}]})
    )
    (tmp_path / "metrics.csv").write_text("step,train/loss\n1,2.0\n2,nan\n")
    (broken,) = read_folders([tmp_path])
    shown = "\n".join(findings(broken))
    assert "not complete: KeyboardInterrupt" in shown and "uncommitted changes" in shown
    assert "train/loss was not finite at 1 of 2 logged steps" in shown


def test_a_report_of_two_runs_shows_different_settings(run, tmp_path: Path) -> None:
    folders = read_folders([run, write_run(tmp_path / "other", lr=0.004)])
    found = Elements(page(folders))
    assert "Settings that differoptimizer.lr" not in found.text and "optimizer.lr" in found.text
    table = found.text[found.text.index("Settings that differ") :]
    assert "0.002" in table and "0.004" in table and "net.nf" not in table
    loss_figure = figures_of(page(folders))[0]
    assert {trace["name"] for trace in loss_figure["data"]} == {folder.label for folder in folders}
    assert len({folder.label for folder in folders}) == 2


def test_repeated_groups_are_shown_once() -> None:
    config = {
        "net": {"nf": 8, "depth": 2},
        "model": {"net": {"nf": 8, "depth": 2}, "range": "unit"},
        "paths": {"run_dir": "/logs/a"},
        "logger": "/logs/a/csv",
    }
    expected = {"net.nf": "8", "net.depth": "2", "model.net": "${net}", "model.range": "unit"}
    assert flat_settings(config) == expected | {"logger": "${paths.run_dir}/csv"}


def test_differences_from_the_default_configuration() -> None:
    found = {key: (default, here) for key, default, here in differences_from_default({"seed": 7, "new": {"a": [1]}})}
    assert found == {"seed": ("42", "7"), "new.a": (ABSENT, "[1]")}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\x00[]", b'{"starts": 3, "results": [1], "about": 2}'])
def test_damaged_files_remove_only_their_part_of_the_page(content: bytes, run_copy: Path) -> None:
    for name in ("run.json", "metrics.csv", "config.yaml", "scores.jsonl"):
        (run_copy / name).write_bytes(content)
    for name in ("final/manifest.json", "final/metrics.json", "step00000400.png"):
        (run_copy / "samples" / name).write_bytes(content)
    (folder,) = read_folders([run_copy])
    names = {"run.json", "metrics.csv", "scores.jsonl", "samples/final/metrics.json"}
    # A record in JSON can be read as a configuration.
    assert set(folder.damaged) - {"config.yaml"} == (names if content else set())
    found = page([folder])
    assert ("These files are damaged and left out: " in found) == bool(content)
    assert "memorization-ema.png" in found and "conclusive: A is better" in found


@pytest.fixture
def run_copy(tmp_path: Path) -> Path:
    return write_run(tmp_path / "copy")


def test_a_folder_of_runs_selects_the_newest(run) -> None:
    (folder,) = read_folders([run.parent.parent])
    assert folder.path == run


def test_samples_in_a_run_update_the_report_of_the_run(run_copy) -> None:
    assert report_afterwards(run_copy / "samples/final") == run_copy / "report.html"
    assert not list(run_copy.glob("**/.*.tmp"))


def test_a_missing_package_gives_one_line(run_copy, monkeypatch, caplog, capsys) -> None:
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "jinja2", None)
        with caplog.at_level(logging.WARNING):
            assert report_afterwards(run_copy) is None
        assert "pip install jinja2" in caplog.text
    page_module.plotting_library.cache_clear()
    monkeypatch.setattr(page_module, "find_spec", lambda name: None)
    assert main([str(run_copy)]) == 1
    assert "pip install plotly" in capsys.readouterr().err
    page_module.plotting_library.cache_clear()
    assert not (run_copy / "report.html").exists()


def test_an_error_in_the_report_does_not_stop_training(run_copy, monkeypatch, caplog) -> None:
    def fail(folders: Any) -> str:
        raise RuntimeError("anything\nat all")

    monkeypatch.setattr(task, "page", fail)
    assert report_afterwards(run_copy) is None
    assert "report.html was not written (anything at all); try score-sde report" in caplog.text


@pytest.mark.parametrize("arguments", [[], ["--all"], ["a", "output="], ["nowhere"], ["."]])
def test_invalid_arguments_give_one_line(arguments, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) != 0
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1


def test_the_command_prints_the_path(run_copy, tmp_path: Path, capsys) -> None:
    assert main([str(run_copy), f"output={tmp_path / 'out/page.html'}"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "out/page.html")
    assert (tmp_path / "out/page.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    with pytest.raises(UserError, match="does not exist"):
        write_report([tmp_path / "absent"])
