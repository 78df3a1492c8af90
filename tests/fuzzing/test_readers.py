"""Each reader on some hundred cases of its format: its own errors come out, or an answer that is right in itself;
nothing else.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.fuzzing.readers import READERS, FuzzedReader
from tests.fuzzing.run import run_case

_PHASES = (Phase.explicit, Phase.generate, Phase.shrink)


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_a_reader_answers_or_refuses(reader: FuzzedReader) -> None:
    @settings(
        max_examples=reader.cases,
        deadline=None,
        database=None,
        phases=_PHASES,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )
    @given(st.data())
    def run(data: st.DataObject) -> None:
        run_case(reader, data.draw(reader.strategy))

    run()


def test_a_reader_that_lets_another_error_through_is_seen() -> None:
    def broken(path: object) -> None:
        raise KeyError(path)

    changelog = next(reader for reader in READERS if reader.name == "changelog")

    @seed(0)
    @settings(max_examples=5, deadline=None, database=None, phases=[Phase.generate])
    @given(changelog.strategy)
    def run(case: dict[str, bytes]) -> None:
        run_case(changelog._replace(read=broken), case)

    with pytest.raises(KeyError):
        run()
