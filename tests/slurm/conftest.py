"""One cluster for all tests of this folder; they are skipped without SLURM."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.slurm.cluster import Cluster, missing_programs


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The running cluster."""
    if missing := missing_programs():
        pytest.skip(f"{', '.join(missing)} not installed: `make test-slurm` installs them")
    with Cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running
