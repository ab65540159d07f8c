import pickle

import pytest

from mmjax.core import errors
from mmjax.core.errors import ConfigError, DataError, MMJaxError, nearest


def test_one_line_with_code_place_and_fix():
    error = ConfigError(7, "a  =\n3", where="x.y", fix="b")
    assert str(error) == "mmjax error MMX-007: a = 3 | where: x.y | fix: b"
    assert str(DataError(201, "gone")) == "mmjax error MMX-201: gone"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("ConfigError", 2),
        ("DataError", 2),
        ("CheckpointError", 2),
        ("NumericError", 3),
        ("Preempted", 42),
        ("TransientError", 75),
    ],
)
def test_exit_codes(name, code):
    cls = getattr(errors, name)
    assert issubclass(cls, MMJaxError)
    assert cls.exit_code == code


def test_errors_travel_between_processes():
    error = DataError(301, "what", where="row 3", fix="that")
    other = pickle.loads(pickle.dumps(error))
    assert type(other) is DataError
    assert (other.code, other.what, other.where, other.fix) == (301, "what", "row 3", "that")
    assert str(other) == str(error)


def test_nearest():
    assert nearest("widht", ["depth", "width"]) == "did you mean 'width'? valid: width, depth"
    assert nearest("zzz", ["b", "a"]) == "valid: a, b"
    assert nearest("x", []) == "there are none"
    many = [f"name{i:02d}" for i in range(20)]
    told = nearest("name07", many)
    assert told.startswith("did you mean 'name07'? valid: name07, ")
    assert told.endswith(", ...")
    assert told.count("name") == 13
