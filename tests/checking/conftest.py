"""What the tests of the checks share."""

import pytest
from command import Visionpe


@pytest.fixture
def visionpe(capsys: pytest.CaptureFixture[str]) -> Visionpe:
    """Runs the command in this process; returns its exit code and all that it prints."""

    def call(*argv: str) -> tuple[int, str]:
        from visionpe.__main__ import main

        capsys.readouterr()
        code = main(argv)
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return call
