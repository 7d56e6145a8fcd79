from __future__ import annotations

import pytest

from prefgen.rundir.licences import strictest


@pytest.mark.parametrize(
    ("licences", "expected"),
    [
        (["mit", "cc-by-4.0", "apache-2.0"], "cc-by-4.0"),
        (["cc-by-nc-4.0", "cc-by-4.0"], "cc-by-nc-4.0"),
        (["mit", "other"], "other"),
        (["mit", ""], "other"),
        (["mit", "my-own"], "other"),
        (["mit"], "mit"),
        ([], "other"),
    ],
)
def test_the_strictest_licence_binds_a_mixture(licences: list[str], expected: str) -> None:
    assert strictest(licences) == expected
